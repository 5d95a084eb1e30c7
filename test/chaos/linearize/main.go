// Command linearize checks a history of registers for linearizability. It reads JSON lines (see ../lib/events.ts,
// RegisterEvent) on stdin, prints one sentence, and ends with 0 (linearizable), 1 (not) or 2 (not decided, bad input).
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

// decideLimit bounds the search; a history that it does not settle is told as undecided, never as right.
const decideLimit = 2 * time.Minute

const lineBytesMax = 1 << 20

type event struct {
	What     string  `json:"what"`
	Client   int     `json:"client"`
	Key      int     `json:"key"`
	Kind     string  `json:"kind"`
	Expected *int    `json:"expected"`
	Value    *int    `json:"value"`
	Outcome  string  `json:"outcome"`
	StartMs  float64 `json:"startMs"`
	EndMs    float64 `json:"endMs"`
}

// absent is a register that has no row; written values are positive.
const absent = 0

type input struct {
	key      int
	kind     string
	expected int
	value    int
}

type output struct {
	value   int
	refused bool
	unknown bool
}

// register is one key: what a read, a write and a compare-and-set may answer. An operation of unknown outcome ends never,
// so it may take effect at any time after its start, or (after everything else) as good as not at all.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[int][]porcupine.Operation{}
		for _, operation := range history {
			key := operation.Input.(input).key
			byKey[key] = append(byKey[key], operation)
		}
		parts := make([][]porcupine.Operation, 0, len(byKey))
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return absent },
	Step: func(state, in, out any) (bool, any) {
		asked, got, now := in.(input), out.(output), state.(int)
		switch asked.kind {
		case "read":
			return got.value == now, now
		case "write":
			return true, asked.value
		default:
			if now == asked.expected {
				return !got.refused, asked.value
			}
			return got.refused || got.unknown, now
		}
	},
	Equal: func(a, b any) bool { return a == b },
	DescribeOperation: func(in, out any) string {
		return fmt.Sprintf("%+v → %+v", in, out)
	},
}

func orAbsent(value *int) int {
	if value == nil {
		return absent
	}
	return *value
}

// operations leaves out what had no effect and told nothing: refused statements, and reads without an answer.
func operations(lines io.Reader) ([]porcupine.Operation, error) {
	history := []porcupine.Operation{}
	scanner := bufio.NewScanner(lines)
	scanner.Buffer(nil, lineBytesMax)
	for scanner.Scan() {
		var e event
		if err := json.Unmarshal(scanner.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("not a line of JSON: %w", err)
		}
		if e.What != "register" || e.Outcome == "failed" || (e.Kind == "read" && e.Outcome != "ok") {
			continue
		}
		if e.Kind != "read" && e.Kind != "write" && e.Kind != "cas" {
			return nil, fmt.Errorf("kind %q: allowed are read, write and cas", e.Kind)
		}
		end := int64(e.EndMs * 1000)
		if e.Outcome == "unknown" {
			end = math.MaxInt64
		}
		history = append(history, porcupine.Operation{
			ClientId: e.Client,
			Input:    input{e.Key, e.Kind, orAbsent(e.Expected), orAbsent(e.Value)},
			Call:     int64(e.StartMs * 1000),
			Output:   output{orAbsent(e.Value), e.Outcome == "refused", e.Outcome == "unknown"},
			Return:   end,
		})
	}
	return history, scanner.Err()
}

func check(lines io.Reader) (int, string) {
	history, err := operations(lines)
	if err != nil {
		return 2, err.Error()
	}
	if len(history) == 0 {
		return 2, "the history is empty"
	}
	switch porcupine.CheckOperationsTimeout(register, history, decideLimit) {
	case porcupine.Ok:
		return 0, fmt.Sprintf("%d operations are linearizable", len(history))
	case porcupine.Illegal:
		return 1, fmt.Sprintf("%d operations are not linearizable", len(history))
	default:
		return 2, fmt.Sprintf("%d operations were not decided within %s", len(history), decideLimit)
	}
}

func main() {
	code, words := check(os.Stdin)
	fmt.Println(words)
	os.Exit(code)
}
