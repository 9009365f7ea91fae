/** Errors in words: nobody reads a code. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { MaruError } from "../../js/src/index.js";
import { closedOf, delayOf, reasonOf, secondsOf } from "../public/reasons.js";

const PROTOCOL = readFileSync(new URL("../../../PROTOCOL.md", import.meta.url), "utf8");
const ERRORS = PROTOCOL.split("\n## Errors\n")[1].split("\n## ")[0];
const OF_PROTOCOL = [...ERRORS.matchAll(/^\| `(\w+)` \|/gm)].map(([, code]) => code);
const OF_CLIENT = ["offline", "timeout", "token_unavailable", "outbox_full", "key_expired", "connection_ended"];

test("every code has words, and no code stands in them", () => {
  assert.ok(OF_PROTOCOL.length > 15, "the table of PROTOCOL.md was not found");
  for (const code of [...OF_PROTOCOL, ...OF_CLIENT, "terminated", "closed"]) {
    const words = reasonOf(new MaruError(code));
    assert.match(words, /^[a-z].* .*[a-z]$/, code);
    assert.doesNotMatch(words, /_/, code);
    for (const wasIn of [true, false]) assert.doesNotMatch(closedOf({ code }, wasIn), /_|undefined/, code);
    assert.doesNotMatch(delayOf(new MaruError(code)), /_|undefined/, code);
  }
});

test("a later version's code is told in the server's own words", () => {
  assert.equal(reasonOf(new MaruError("of_later", "the moon is full")), "the moon is full");
  assert.equal(reasonOf(null), "the server gave no reason");
});

test("an error that time heals says when, and never too early", () => {
  const error = new MaruError("rate_limited", "", { retryable: true, retry_after_ms: 2_001 });
  assert.equal(reasonOf(error), "that was too much in too short a time; try again in 3 seconds");
  assert.deepEqual([0, 1, 1_000, 1_001].map(secondsOf), ["1 second", "1 second", "1 second", "2 seconds"]);
});

test("a rule of the application speaks for itself, without characters that hide or turn letters", () => {
  const refused = (reason) => new MaruError("permission_denied", "refused", { details: { reason } });
  assert.equal(reasonOf(refused("no links, please")), "it was refused here: “no links, please”");
  assert.equal(reasonOf(refused("\u202eno\u200b\n ")), "it was refused here: “no”");
  assert.equal(reasonOf(refused("x".repeat(500))), `it was refused here: “${"x".repeat(200)}…”`);
  for (const nothing of ["", " \u200b", 7, null]) {
    assert.equal(reasonOf(refused(nothing)), "you are not allowed to do that here");
  }
  assert.equal(closedOf(refused("members only"), false), "You have no access to this channel: “members only”");
});

test("a lost channel is told otherwise than a refused one", () => {
  assert.equal(closedOf({ code: "permission_denied" }, true), "You no longer have access to this channel");
  assert.equal(closedOf({ code: "permission_denied" }, false), "You have no access to this channel");
  assert.equal(closedOf({ code: "internal" }, true), "This channel is closed: something broke in the server");
});

test("a wait says what it is for", () => {
  const limited = (limit) => delayOf(new MaruError("rate_limited", "", { details: { limit } }));
  assert.equal(limited("send_user"), "That was fast");
  assert.equal(limited("slow_mode"), "This channel takes one message at a time");
  assert.equal(delayOf(new MaruError("unavailable")), "The server can not do that right now");
});
