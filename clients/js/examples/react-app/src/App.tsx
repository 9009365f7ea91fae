import { useConnection, useUnread } from "@maru/client/react";
import { useState } from "react";

import { Members } from "./Members";
import { Room } from "./Room";

const ROOMS = ["room:lobby", "room:garden"] as const;

/** The list of rooms, the room that is open, and its members. */
export function App({ user }: { user: string }) {
  const { state, error } = useConnection();
  const [open, setOpen] = useState<string>(ROOMS[0]);
  const [showsMembers, setShowsMembers] = useState(true);
  return (
    <>
      <header>
        <strong>{user}</strong> is <span data-testid="state">{state}</span> {error?.message}
        <button type="button" onClick={() => setShowsMembers(!showsMembers)}>
          members
        </button>
      </header>
      <div className="columns">
        <nav>
          <ul>
            {ROOMS.map((room) => (
              <li key={room}>
                <RoomButton room={room} isOpen={room === open} onOpen={() => setOpen(room)} />
              </li>
            ))}
          </ul>
        </nav>
        <Room key={open} room={open} me={user} />
        {showsMembers && <Members room={open} />}
      </div>
    </>
  );
}

function RoomButton({ room, isOpen, onOpen }: { room: string; isOpen: boolean; onOpen: () => void }) {
  const { count } = useUnread(room);
  return (
    <button type="button" data-testid={room} aria-current={isOpen} onClick={onOpen}>
      {room}
      {count > 0 && (
        <span className="unread" data-testid="unread">
          {count}
        </span>
      )}
    </button>
  );
}
