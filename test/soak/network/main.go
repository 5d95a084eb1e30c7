// Delays and drops packets that a packet filter rule sends to it (-j NFQUEUE). It makes jitter and loss between
// containers where the kernel has no netem. Each packet waits a random time up to -jitter, and packets of one flow keep
// their order; the part -loss of all packets is dropped. The program ends on SIGTERM and lets waiting packets pass. The
// rule should have --queue-bypass, so that packets pass when this program does not run.
//
//	network -queue 30 -jitter 500ms -loss 0.01
package main

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
)

// linux/netfilter/nfnetlink.h and nfnetlink_queue.h
const (
	familyNetfilter = 12
	subsystemQueue  = 3 << 8
	messagePacket   = subsystemQueue | 0
	messageVerdict  = subsystemQueue | 1
	messageConfig   = subsystemQueue | 2
	configCommand   = 1
	configParams    = 2
	configMaxLength = 3
	commandBind     = 1
	copyPacket      = 2
	packetHeader    = 1
	verdictHeader   = 2
	packetPayload   = 10
	verdictDrop     = 0
	verdictAccept   = 1

	// Enough of each packet for its addresses and ports.
	copyBytes = 64
	maxLength = 65536
	maxFlows  = 65536
)

func main() {
	queue := flag.Uint("queue", 0, "number of the queue")
	jitter := flag.Duration("jitter", 0, "longest delay of a packet")
	loss := flag.Float64("loss", 0, "part of the packets that are dropped, 0 to 1")
	flag.Parse()
	if *queue > 65535 || *jitter < 0 || *jitter > time.Minute || *loss < 0 || *loss > 1 {
		fmt.Fprintln(os.Stderr, "allowed are -queue 0 to 65535, -jitter 0 to 1m, -loss 0 to 1")
		os.Exit(2)
	}
	if err := run(uint16(*queue), *jitter, *loss); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(queue uint16, jitter time.Duration, loss float64) error {
	conn, err := netlink.Dial(familyNetfilter, nil)
	if err != nil {
		return fmt.Errorf("netfilter's socket: %w", err)
	}
	defer conn.Close()
	if err := bind(conn, queue); err != nil {
		return fmt.Errorf("queue %d: %w", queue, err)
	}
	stopped, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() {
		<-stopped.Done()
		conn.Close()
	}()
	fmt.Println("ready")
	line := newLine(jitter)
	var sending sync.Mutex
	for {
		messages, err := conn.Receive()
		if stopped.Err() != nil {
			return nil
		}
		if err != nil {
			// The kernel's buffer was full, and the kernel dropped packets: this is loss, too.
			continue
		}
		for _, message := range messages {
			id, flow, ok := parse(message)
			if !ok {
				continue
			}
			verdict := uint32(verdictAccept)
			if rand.Float64() < loss {
				verdict = verdictDrop
			}
			time.AfterFunc(line.delay(flow, time.Now()), func() {
				sending.Lock()
				defer sending.Unlock()
				// An error only says that the packet is not in the queue any more.
				_, _ = conn.Send(answer(queue, id, verdict))
			})
		}
	}
}

// line gives each packet its delay. Within a flow no packet overtakes another.
type line struct {
	jitter time.Duration
	last   map[string]time.Time
}

func newLine(jitter time.Duration) *line {
	return &line{jitter: jitter, last: map[string]time.Time{}}
}

func (l *line) delay(flow string, now time.Time) time.Duration {
	if l.jitter == 0 {
		return 0
	}
	due := now.Add(rand.N(l.jitter))
	if before := l.last[flow]; due.Before(before) {
		due = before
	}
	if len(l.last) >= maxFlows {
		clear(l.last)
	}
	l.last[flow] = due
	return due.Sub(now)
}

func header(queue uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{0, 0}, queue)
}

func attribute(kind uint16, data []byte) []byte {
	bytes, _ := netlink.MarshalAttributes([]netlink.Attribute{{Type: kind, Data: data}})
	return bytes
}

func bind(conn *netlink.Conn, queue uint16) error {
	params := append(binary.BigEndian.AppendUint32(nil, copyBytes), copyPacket)
	for _, data := range [][]byte{
		attribute(configCommand, []byte{commandBind, 0, 0, 0}),
		attribute(configParams, params),
		attribute(configMaxLength, binary.BigEndian.AppendUint32(nil, maxLength)),
	} {
		request := netlink.Message{
			Header: netlink.Header{Type: messageConfig, Flags: netlink.Request | netlink.Acknowledge},
			Data:   append(header(queue), data...),
		}
		if _, err := conn.Execute(request); err != nil {
			return err
		}
	}
	return nil
}

func answer(queue uint16, id uint32, verdict uint32) netlink.Message {
	data := binary.BigEndian.AppendUint32(nil, verdict)
	return netlink.Message{
		Header: netlink.Header{Type: messageVerdict, Flags: netlink.Request},
		Data:   append(header(queue), attribute(verdictHeader, binary.BigEndian.AppendUint32(data, id))...),
	}
}

// parse returns a packet's id and its flow: protocol, addresses and, with TCP and UDP, ports.
func parse(message netlink.Message) (id uint32, flow string, ok bool) {
	if message.Header.Type != messagePacket || len(message.Data) < 4 {
		return 0, "", false
	}
	attributes, err := netlink.UnmarshalAttributes(message.Data[4:])
	if err != nil {
		return 0, "", false
	}
	for _, a := range attributes {
		switch {
		case a.Type == packetHeader && len(a.Data) >= 4:
			id, ok = binary.BigEndian.Uint32(a.Data), true
		case a.Type == packetPayload && len(a.Data) >= 20:
			flow = flowOf(a.Data)
		}
	}
	return id, flow, ok
}

func flowOf(packet []byte) string {
	flow := string(packet[9:10]) + string(packet[12:20])
	ports := int(packet[0]&15) * 4
	if protocol := packet[9]; (protocol == 6 || protocol == 17) && len(packet) >= ports+4 {
		flow += string(packet[ports : ports+4])
	}
	return flow
}
