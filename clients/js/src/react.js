/**
 * Hooks for React 18 and newer. Give the client to `MaruProvider`, near the root of the page; it is the application's,
 * so no hook ever closes it. A channel is joined while any component uses it, however often React mounts it.
 */

import { createContext, createElement, useContext, useEffect, useMemo, useSyncExternalStore } from "react";

import { presenceView, roomView, typingView, unreadView } from "./views.js";

/** @typedef {import("./index.js").Maru} Maru */

const Context = createContext(/** @type {Maru|null} */ (null));

/**
 * Connects the client, and gives it to the hooks below.
 * @param {{client: Maru, children?: import("react").ReactNode}} props
 */
export function MaruProvider({ client, children }) {
  useEffect(() => client.connect(), [client]);
  return createElement(Context.Provider, { value: client }, children);
}

/** The client. @returns {Maru} */
export function useMaru() {
  const client = useContext(Context);
  if (!client) throw new Error("this component needs a MaruProvider above it");
  return client;
}

/** The state of the connection, with its reason if there is one. */
export function useConnection() {
  const client = useMaru();
  const subscribe = useMemo(() => (/** @type {() => void} */ changed) => client.on("state", changed), [client]);
  const state = useSyncExternalStore(subscribe, () => client.state, () => client.state);
  const error = useSyncExternalStore(subscribe, () => client.error, () => client.error);
  return { state, error };
}

/**
 * The messages of a channel, and what can be done there.
 * @param {string} name @param {{history?: number}} [options] how many messages to begin with
 */
export function useChannel(name, { history = 50 } = {}) {
  const client = useMaru();
  const view = useMemo(() => roomView(client, name, history), [client, name, history]);
  const actions = useMemo(() => actionsOf(client, name), [client, name]);
  const room = useSyncExternalStore(view.subscribe, view.getSnapshot, view.getSnapshot);
  return { ...room, ...actions };
}

/** The users in a channel, those that are there longest first. @param {string} name */
export function usePresence(name) {
  const client = useMaru();
  const view = useMemo(() => presenceView(client, name), [client, name]);
  return useSyncExternalStore(view.subscribe, view.getSnapshot, view.getSnapshot);
}

/** What the user has not read in a channel, and `markRead`. @param {string} name */
export function useUnread(name) {
  const client = useMaru();
  const view = useMemo(() => unreadView(client, name), [client, name]);
  /** @type {(offset?: number) => void} */
  const markRead = useMemo(() => (offset) => client.markRead(name, numberOf(offset)), [client, name]);
  const unread = useSyncExternalStore(view.subscribe, view.getSnapshot, view.getSnapshot);
  return { ...unread, markRead };
}

/** The others who are typing, and `typing` to call with each key. @param {string} name */
export function useTyping(name) {
  const client = useMaru();
  const view = useMemo(() => typingView(client, name), [client, name]);
  /** @type {(isTyping?: boolean) => void} */
  const typing = useMemo(() => (isTyping) => client.typing(name, isTyping), [client, name]);
  const { users } = useSyncExternalStore(view.subscribe, view.getSnapshot, view.getSnapshot);
  return { users, typing };
}

/** A handler of a click gets an event, which says nothing of an offset. @param {unknown} value */
function numberOf(value) {
  return typeof value === "number" ? value : undefined;
}

/** @param {Maru} client @param {string} name */
function actionsOf(client, name) {
  return {
    /** @param {string} text @param {import("./index.js").SendOptions} [options] */
    send: (text, options) => client.send(name, text, options),
    /** @param {string} id @param {string} text */
    edit: (id, text) => client.edit(name, id, text),
    /** @param {string} id */
    remove: (id) => client.remove(name, id),
    /** @param {string} id @param {string} emoji */
    react: (id, emoji) => client.react(name, id, emoji),
    /** @param {string} id @param {string} emoji */
    unreact: (id, emoji) => client.unreact(name, id, emoji),
    /** @param {{before?: number, after?: number, limit?: number}} [page] */
    history: (page) => client.history(name, page),
  };
}
