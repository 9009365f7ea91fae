/** The user of this page, and their tokens. A name is remembered per tab, so that two tabs can be two people. */

import { localStore } from "../../js/src/storage.js";
import { byId } from "./dom.js";

const REMEMBERED = "maru.user";

/** The name from `?user=`, or from this tab's last visit, or "". */
export function knownUser() {
  const asked = new URLSearchParams(location.search).get("user")?.normalize("NFC").trim();
  return asked || sessionStorage.getItem(REMEMBERED) || "";
}

/** @param {string} user */
export function remember(user) {
  sessionStorage.setItem(REMEMBERED, user);
}

/** What outlives a page of the user: messages that wait, and places in channels. @param {string} user */
export function storeOf(user) {
  return localStore(`demo:${user}`);
}

/** Nothing of the user stays in this browser. @param {string} user */
export function forget(user) {
  const store = storeOf(user);
  for (const key of /** @type {string[]} */ (store.keys())) store.remove(key);
  sessionStorage.clear();
  history.replaceState(null, "", location.pathname);
}

/** Asked before a user signs out. @param {number} waiting messages that are not sent */
export function lossOf(waiting) {
  const messages = waiting === 1 ? "1 message was" : `${waiting} messages were`;
  return `${messages} not sent, and would be lost. Sign out?`;
}

/**
 * Fetches a development token. Your own page asks your own backend, which knows its user.
 * @param {string} user @returns {Promise<string>}
 */
export async function fetchToken(user) {
  return (await fetchAnswer(user)).token;
}

/** @param {string} user @returns {Promise<{token: string, user: string}>} the name as the server writes it */
async function fetchAnswer(user) {
  const response = await fetch(`/dev/token?user=${encodeURIComponent(user)}`, { cache: "no-store" });
  if (response.ok) return response.json();
  const body = await response.json().catch(() => null);
  const message = body?.error?.message ?? `the server gives no tokens here (${response.status})`;
  throw Object.assign(new Error(message), { retryable: response.status >= 500 });
}

/** Asks for a name until the server gives a token for it. @returns {Promise<string>} the name */
export function askName(name = "", problem = "") {
  const form = byId("sign-in");
  const input = byId("sign-in-name");
  const complaint = byId("sign-in-problem");
  byId("welcome").hidden = false;
  input.value = name;
  complaint.textContent = problem;
  input.focus();
  return new Promise((resolve) => {
    form.onsubmit = async (/** @type {Event} */ event) => {
      event.preventDefault();
      const user = input.value.trim();
      complaint.textContent = user ? "" : "A name needs at least one letter.";
      if (!user || form.ariaBusy === "true") return;
      form.ariaBusy = "true";
      try {
        const answer = await fetchAnswer(user);
        byId("welcome").hidden = true;
        resolve(answer.user);
      } catch (cause) {
        const error = /** @type {Error} */ (cause); // of the network (a TypeError), or of `fetchToken`
        const reason = error instanceof TypeError ? "The server can not be reached." : `${error.message}.`;
        complaint.textContent = reason;
      } finally {
        form.ariaBusy = "false";
      }
    };
  });
}
