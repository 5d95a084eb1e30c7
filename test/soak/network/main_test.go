package main

import (
	"testing"
	"time"
)

func TestPacketsOfAFlowKeepTheirOrderAndWaitNoLongerThanTheJitter(t *testing.T) {
	line := newLine(500 * time.Millisecond)
	now := time.Now()
	due := now
	longest := time.Duration(0)
	for i := range 1000 {
		at := now.Add(time.Duration(i) * time.Millisecond)
		delay := line.delay("a", at)
		if next := at.Add(delay); next.Before(due) {
			t.Fatalf("packet %d overtakes the one before it", i)
		} else {
			due = next
		}
		longest = max(longest, delay)
	}
	if longest <= 400*time.Millisecond || longest > 500*time.Millisecond {
		t.Fatalf("the longest delay was %v", longest)
	}
}

func TestAFlowIsItsAddressesAndPorts(t *testing.T) {
	packet := []byte{0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x15, 0x38, 0xc0, 0, 0, 0, 0, 0}
	if got, want := flowOf(packet), "\x06\x0a\x00\x00\x01\x0a\x00\x00\x02\x15\x38\xc0\x00"; got != want {
		t.Fatalf("%q instead of %q", got, want)
	}
}
