import { usePresence } from "@maru/client/react";

/** The users in a room. */
export function Members({ room }: { room: string }) {
  const { members, count } = usePresence(room);
  return (
    <aside>
      <h2>{count} here</h2>
      <ul>
        {members.map(({ user, name }) => (
          <li key={user} data-testid="member">
            {name ?? user}
          </li>
        ))}
      </ul>
    </aside>
  );
}
