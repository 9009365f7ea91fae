/** Getting at messages: arrows from one to the next; the menu on a touch screen, behind its button or a long press. */

const LONG_PRESS_MS = 450;

/** Opens a row's menu and closes any other. @param {Element|null|undefined} row */
export function openMenu(row) {
  for (const open of document.querySelectorAll(".menu-open")) if (open !== row) open.classList.remove("menu-open");
  row?.classList.add("menu-open");
}

/** @param {Event} event of the row's button */
export function toggleMenu(event) {
  const row = /** @type {Element} */ (event.target).closest(".message");
  openMenu(row?.classList.contains("menu-open") ? null : row);
}

/** @param {HTMLElement} box of the rows */
export function listenForLongPress(box) {
  let timer = 0;
  const cancel = () => clearTimeout(timer);
  box.addEventListener("pointerdown", (event) => {
    const target = /** @type {Element} */ (event.target);
    if (!target.closest(".actions")) openMenu(null);
    if (event.pointerType !== "touch") return;
    const row = target.closest(".message");
    if (row?.querySelector(".menu")) timer = window.setTimeout(() => openMenu(row), LONG_PRESS_MS);
  });
  for (const name of ["pointerup", "pointercancel", "pointermove"]) box.addEventListener(name, cancel);
}

/** Arrows move the focus from message to message. @param {KeyboardEvent} event @param {Element} rows */
export function moveByArrows(event, rows) {
  const steps = { ArrowUp: "previousElementSibling", ArrowDown: "nextElementSibling" };
  const step = /** @type {"nextElementSibling"|undefined} */ (/** @type {any} */ (steps)[event.key]);
  if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
  const row = /** @type {Element} */ (event.target).closest("li");
  let next = /** @type {any} */ (row ? row[step] : rows.lastElementChild);
  while (next && !next.matches(".message")) next = next[step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}
