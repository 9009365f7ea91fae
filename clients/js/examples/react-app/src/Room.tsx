import type { DeletedMessage, MaruError, Message } from "@maru/client";
import { useChannel, useTyping, useUnread } from "@maru/client/react";
import { type FormEvent, useEffect, useState } from "react";

const THUMB = "👍";

/** The messages of a room, and a line to write. It is read while it is open. */
export function Room({ room, me }: { room: string; me: string }) {
  const { messages, unsent, status, error, send, react, unreact } = useChannel(room, { history: 50 });
  const { users, typing } = useTyping(room);
  const { count, markRead } = useUnread(room);
  const [text, setText] = useState("");
  const [problem, setProblem] = useState("");

  useEffect(() => {
    if (count > 0) markRead();
  }, [count, markRead]);

  const failed = (cause: MaruError) => setProblem(cause.message);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (text.trim() === "") return;
    send(text).catch(failed);
    setText("");
  };
  const toggle = (message: Message) => {
    const isMine = message.reactions[THUMB]?.users.includes(me);
    (isMine ? unreact : react)(message.id, THUMB).catch(failed);
  };
  return (
    <main>
      <p role="status">{error ? error.message : status === "joining" ? "…" : problem}</p>
      <ul data-testid="messages">
        {messages.map((message) => (
          <Line key={message.id} message={message} onReact={toggle} />
        ))}
        {unsent.map(({ key, text: waiting }) => (
          <li key={key} className="waiting" data-testid="waiting">
            {waiting}
          </li>
        ))}
      </ul>
      <p data-testid="typing">{users.length > 0 && `${users.join(", ")} …`}</p>
      <form onSubmit={submit}>
        <input
          aria-label="message"
          data-testid="input"
          value={text}
          onChange={(event) => {
            setText(event.target.value);
            typing();
          }}
        />
        <button type="submit">send</button>
      </form>
    </main>
  );
}

function Line({ message, onReact }: { message: Message | DeletedMessage; onReact: (message: Message) => void }) {
  if (message.deleted) return <li data-testid="deleted">deleted</li>;
  const thumbs = message.reactions[THUMB]?.count ?? 0;
  return (
    <li data-testid="message" data-id={message.id}>
      <strong>{message.author.name ?? message.author.id}</strong> <span>{message.text}</span>{" "}
      <button type="button" data-testid="thumb" aria-label="thumb up" onClick={() => onReact(message)}>
        {THUMB} {thumbs}
      </button>
    </li>
  );
}
