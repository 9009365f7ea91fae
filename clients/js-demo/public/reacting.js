/** Reacting to messages: a click shows at once, and is undone if the server refuses it. */

import { closePicker, openPicker } from "./picker.js";
import { chipsOf, Clicks } from "./reactions.js";
import { reasonOf } from "./reasons.js";
import { openMenu } from "./row_menu.js";

/** @typedef {import("./timeline.js").Item} Item */

export class Reacting {
  clicks = new Clicks();

  #me;
  #hooks;

  /**
   * @param {string} me
   * @param {{channel(): any, changed(): void, told(news: string): void}} hooks `channel`: the channel on the page
   */
  constructor(me, hooks) {
    this.#me = me;
    this.#hooks = hooks;
  }

  /** Opens the picker beside a button of a message. @param {Item} item @param {Element} button */
  pick(item, button) {
    const row = button.closest(".message");
    row?.classList.add("picking");
    openPicker(button, new Set(this.#own(item)), {
      chosen: (emoji) => this.toggle(item, emoji),
      closed: () => {
        row?.classList.remove("picking");
        openMenu(null);
      },
    });
  }

  /** Another channel is on the page. */
  close() {
    closePicker();
  }

  /** Adds one's reaction, or takes it back. @param {Item} item @param {string} emoji */
  async toggle(item, emoji) {
    const { id } = item;
    if (id === null) return;
    const on = !this.#own(item).includes(emoji);
    const channel = this.#hooks.channel();
    this.clicks.begin(id, emoji, on);
    this.#hooks.changed();
    try {
      const { offset } = await (on ? channel.react(id, emoji) : channel.unreact(id, emoji));
      this.clicks.done(id, emoji, offset);
    } catch (cause) {
      const error = /** @type {any} */ (cause);
      this.clicks.failed(id, emoji);
      const isFull = error.code === "conflict" && !item.deleted;
      const reason = isFull ? "the message has as many as it may have" : reasonOf(error);
      this.#hooks.told(`Your reaction was not taken: ${reason}.`);
    }
    this.#hooks.changed();
  }

  /** @param {Item} item @returns {string[]} the emojis of the user */
  #own(item) {
    return chipsOf(item, this.clicks, this.#me).flatMap(({ emoji, own }) => (own ? [emoji] : []));
  }
}
