package main

import (
	"strings"
	"testing"
)

func line(client, kind, expected, value, outcome, start, end string) string {
	return `{"what":"register","client":` + client + `,"key":1,"kind":"` + kind + `","expected":` + expected +
		`,"value":` + value + `,"outcome":"` + outcome + `","startMs":` + start + `,"endMs":` + end + `}`
}

func TestHistories(t *testing.T) {
	cases := map[string]struct {
		lines []string
		code  int
	}{
		"a read after a write gets its value": {[]string{
			line("1", "write", "null", "1", "ok", "0", "1"),
			line("2", "read", "null", "1", "ok", "2", "3"),
		}, 0},
		"a stale read after an acknowledged write is found": {[]string{
			line("1", "write", "null", "1", "ok", "0", "1"),
			line("1", "write", "null", "2", "ok", "2", "3"),
			line("2", "read", "null", "1", "ok", "4", "5"),
		}, 1},
		"a lost write is found": {[]string{
			line("1", "write", "null", "1", "ok", "0", "1"),
			line("2", "read", "null", "null", "ok", "2", "3"),
		}, 1},
		"a write of unknown outcome may show later": {[]string{
			line("1", "write", "null", "1", "unknown", "0", "1"),
			line("2", "read", "null", "null", "ok", "2", "3"),
			line("2", "read", "null", "1", "ok", "4", "5"),
		}, 0},
		"a write of unknown outcome that showed does not go away": {[]string{
			line("1", "write", "null", "1", "unknown", "0", "1"),
			line("2", "read", "null", "1", "ok", "2", "3"),
			line("2", "read", "null", "null", "ok", "4", "5"),
		}, 1},
		"two compare-and-sets of the same value do not both succeed": {[]string{
			line("1", "write", "null", "1", "ok", "0", "1"),
			line("1", "cas", "1", "2", "ok", "2", "5"),
			line("2", "cas", "1", "3", "ok", "2", "5"),
		}, 1},
		"a compare-and-set that is refused found another value": {[]string{
			line("1", "write", "null", "1", "ok", "0", "1"),
			line("1", "cas", "7", "2", "refused", "2", "3"),
			line("2", "read", "null", "1", "ok", "4", "5"),
		}, 0},
		"a refused compare-and-set of the very value is found": {[]string{
			line("1", "write", "null", "1", "ok", "0", "1"),
			line("1", "cas", "1", "2", "refused", "2", "3"),
		}, 1},
		"a failed write has no effect": {[]string{
			line("1", "write", "null", "1", "failed", "0", "1"),
			line("2", "read", "null", "1", "ok", "2", "3"),
		}, 1},
		"an empty history proves nothing": {nil, 2},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if code, words := check(strings.NewReader(strings.Join(c.lines, "\n"))); code != c.code {
				t.Errorf("%d (%s) instead of %d", code, words, c.code)
			}
		})
	}
}
