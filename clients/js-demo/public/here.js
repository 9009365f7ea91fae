/** The people in the channel on the page: the members at the side, and the quiet line of comings, goings and typing. */

import { renderMembers } from "./member_panel.js";
import { nameOf } from "./format.js";
import { Whisper } from "./whisper.js";

/** @typedef {import("./people.js").Person} Person */

export class Here {
  #me;
  #people;
  #whisper = new Whisper();
  /** @type {import("../../js/src/index.js").Channel|null} */ #channel = null;
  /** @type {(() => void)[]} */ #offs = [];
  /** @type {Map<string, string>|null} names by user, as rendered; null: nothing was told yet */ #known = null;
  #isDue = false;

  /** @param {string} me @param {import("./people.js").People} people */
  constructor(me, people) {
    this.#me = me;
    this.#people = people;
  }

  /** Whoever is here, as far as names are told. @returns {Person[]} */
  get members() {
    return this.#channel?.roster?.members ?? [];
  }

  /** @param {import("../../js/src/index.js").Channel} channel on the page */
  show(channel) {
    for (const off of this.#offs.splice(0)) off();
    this.#channel = channel;
    this.#known = null;
    this.#whisper.clear();
    this.#offs.push(channel.on("presence", () => this.#soon()), channel.on("typing", () => this.#typing()));
    this.#typing();
    renderMembers({ members: [], count: 0 }, this.#me); // until they are read
    this.#present();
    channel.presence().then(
      () => this.#soon(),
      () => {}, // the channel is closed, or the server does not tell
    );
  }

  /** Renders soon: many changes, one rendering. */
  #soon() {
    if (this.#isDue) return;
    this.#isDue = true;
    setTimeout(() => {
      this.#isDue = false;
      this.#present();
    }, 0);
  }

  #present() {
    const roster = this.#channel?.roster;
    if (!roster) return; // not read yet
    const now = new Map(this.members.map(({ user, name }) => [user, nameOf({ id: user, name })]));
    for (const { user, name } of this.members) this.#people.heard(user, name);
    renderMembers(roster, this.#me);
    if (this.#known?.size) this.#tell(this.#known, now);
    this.#known = now;
  }

  /** @param {Map<string, string>} before @param {Map<string, string>} now */
  #tell(before, now) {
    for (const [user, name] of before) if (!now.has(user)) this.#whisper.moved(name, false);
    for (const [user, name] of now) if (!before.has(user)) this.#whisper.moved(name, true);
  }

  #typing() {
    const users = this.#channel?.typists ?? [];
    this.#whisper.typing(users.map((user) => this.#people.nameOf(user)));
  }
}
