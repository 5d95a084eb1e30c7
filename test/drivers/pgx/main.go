// The loop of loop.py with pgx, which prepares every statement under a name and keeps it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const again = 100 * time.Millisecond

var (
	client = os.Getenv("CLIENT")
	insert = "INSERT INTO " + os.Getenv("TABLE") + " (id) VALUES ($1)"
	// The password comes from PGPASSWORD.
	address = fmt.Sprintf("postgres://%s@%s:%s/%s?sslmode=verify-full&sslrootcert=%s&connect_timeout=35",
		os.Getenv("PGUSER"), os.Getenv("PGHOST"), os.Getenv("PGPORT"), os.Getenv("PGDATABASE"), os.Getenv("CA"))
)

// event is a WriteEvent of test/rig/writer.ts.
type event struct {
	What    string  `json:"what"`
	Client  string  `json:"client"`
	ID      *string `json:"id"`
	Outcome string  `json:"outcome"`
	StartMs float64 `json:"startMs"`
	EndMs   float64 `json:"endMs"`
	Message string  `json:"message,omitempty"`
}

func epochMs(at time.Time) float64 { return float64(at.UnixMicro()) / 1000 }

func report(id *string, outcome string, start time.Time, err error) {
	message := ""
	if err != nil {
		message = strings.Join(strings.Fields(err.Error()), " ")
		var refused *pgconn.PgError
		if errors.As(err, &refused) && !strings.Contains(message, refused.Code) {
			message += " (" + refused.Code + ")"
		}
	}
	line, _ := json.Marshal(event{"write", client, id, outcome, epochMs(start), epochMs(time.Now()), message})
	fmt.Println(string(line))
}

func number(name string) int {
	value, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(2)
	}
	return value
}

func main() {
	pace, perConnection := time.Duration(number("PACE_MS"))*time.Millisecond, number("PER_CONNECTION")
	ctx := context.Background()
	for n := 0; ; {
		start := time.Now()
		connection, err := pgx.Connect(ctx, address)
		if err != nil {
			report(nil, "failed", start, err)
			time.Sleep(again)
			continue
		}
		for written := 0; perConnection == 0 || written < perConnection; written++ {
			start, id := time.Now(), fmt.Sprintf("%s %d", client, n)
			n++
			if _, err := connection.Exec(ctx, insert, id); err != nil {
				report(&id, "unknown", start, err)
				break
			}
			report(&id, "acknowledged", start, nil)
			time.Sleep(pace)
		}
		_ = connection.Close(ctx)
	}
}
