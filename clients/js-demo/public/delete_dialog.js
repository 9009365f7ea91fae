/** The question before a message is deleted. */

import { byId } from "./dom.js";
import { openMenu } from "./row_menu.js";

/** @param {string} text of the message @param {() => void} remove called if the answer is yes */
export function confirmDelete(text, remove) {
  openMenu(null);
  const dialog = byId("delete-dialog");
  byId("delete-quote").textContent = text;
  dialog.returnValue = "";
  dialog.onclose = () => dialog.returnValue === "delete" && remove();
  dialog.showModal();
}
