// A Go client that does what it is told. ../README.md has the commands and the lines.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/zishang520/socket.io/clients/engine/v3/transports"
	"github.com/zishang520/socket.io/clients/socket/v3"
	"github.com/zishang520/socket.io/v3/pkg/types"
)

type command struct {
	Do         string         `json:"do"`
	Id         string         `json:"id"`
	Url        string         `json:"url"`
	Namespaces []string       `json:"namespaces"`
	Auth       map[string]any `json:"auth"`
	Transports []string       `json:"transports"`
	Name       string         `json:"name"`
	Args       []any          `json:"args"`
	Tag        *int           `json:"tag"`
}

type line = map[string]any

// A user of the program: the map that was given as `auth`, which the library reads at every connect, and the sockets,
// one for each namespace, of which the last is the one that is watched.
type user struct {
	auth    map[string]any
	sockets []*socket.Socket
}

func (u *user) last() *socket.Socket { return u.sockets[len(u.sockets)-1] }

var printing sync.Mutex

func say(what line) {
	text, err := json.Marshal(what)
	if err != nil {
		panic(err)
	}
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(string(text))
}

func first(args []any) any {
	if len(args) == 0 {
		return nil
	}
	return args[0]
}

func open(c command) *user {
	u := &user{auth: c.Auth}
	options := socket.DefaultOptions()
	options.SetAuth(u.auth)
	options.SetAutoConnect(false) // else `session:ready` may come before the handlers are set
	// The library can miss that its own WebSocket is open, if that is quick, and then sends no CONNECT: it tries again
	// after this.
	options.SetTimeout(time.Second)
	options.SetReconnectionDelay(200)
	options.SetReconnectionDelayMax(500)
	if c.Transports != nil {
		options.SetTransports(types.NewSet(transports.WebSocket))
	}
	manager := socket.NewManager(c.Url, options)
	for _, namespace := range c.Namespaces {
		u.sockets = append(u.sockets, manager.Socket(namespace, options))
	}
	listen(c.Id, u.last())
	for _, each := range u.sockets {
		each.Connect()
	}
	return u
}

func listen(id string, s *socket.Socket) {
	s.On("connect", func(...any) { say(line{"id": id, "is": "connect"}) })
	s.On("disconnect", func(args ...any) { say(line{"id": id, "is": "disconnect", "reason": first(args)}) })
	s.On("connect_error", func(args ...any) {
		if fmt.Sprint(first(args)) == "timeout" {
			say(line{"id": id, "is": "timeout"})
			return
		}
		failure := line{"id": id, "is": "connect_error", "message": fmt.Sprint(first(args)), "data": nil, "detail": ""}
		if err, isError := first(args).(error); isError {
			var refused *types.ExtendedError
			if errors.As(err, &refused) {
				failure["data"] = refused.Data
			}
			if cause := errors.Unwrap(err); cause != nil {
				failure["detail"] = cause.Error()
			}
		}
		say(failure)
	})
	s.OnAny(func(args ...any) { say(line{"id": id, "is": "event", "name": first(args), "body": first(args[1:])}) })
}

func emit(c command, s *socket.Socket) error {
	if c.Tag == nil {
		return s.Emit(c.Name, c.Args...)
	}
	return s.Emit(c.Name, append(c.Args, func(answer []any, err error) {
		if err == nil {
			say(line{"id": c.Id, "is": "ack", "tag": *c.Tag, "ack": first(answer)})
		}
	})...)
}

func main() {
	users := map[string]*user{}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			panic(err)
		}
		u := users[c.Id]
		switch c.Do {
		case "open":
			users[c.Id] = open(c)
		case "auth":
			clear(u.auth)
			for name, value := range c.Auth {
				u.auth[name] = value
			}
		case "connect":
			u.last().Connect()
		case "emit":
			if err := emit(c, u.last()); err != nil {
				panic(err)
			}
		case "close":
			for _, each := range u.sockets {
				each.Disconnect()
			}
		default:
			panic(c.Do)
		}
	}
}
