// SPDX-License-Identifier: Apache-2.0
/** The menu behind the handle at the top edge. */

export class Menu {
  #handle;
  #menu;
  #onClose;

  /**
   * @param {Record<string, () => void>} actions by the buttons' data-action
   * @param {() => void} onClose the keyboard is the guest's again
   */
  constructor(handle, menu, actions, onClose) {
    this.#handle = handle;
    this.#menu = menu;
    this.#onClose = onClose;
    handle.addEventListener("click", () => this.toggle());
    menu.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      this.close();
      actions[button.dataset.action]?.();
    });
    for (const element of [handle, menu]) {
      element.addEventListener("keydown", (event) => { if (event.key === "Escape") this.close(); });
    }
    document.addEventListener("pointerdown", (event) => {
      if (this.isOpen && !menu.contains(event.target) && event.target !== handle) this.close();
    }, true);
  }

  get isOpen() { return !this.#menu.hidden; }

  toggle() {
    if (this.isOpen) return this.close();
    this.#menu.hidden = false;
    this.#handle.setAttribute("aria-expanded", "true");
    this.#menu.querySelector("button:not([hidden])")?.focus();
  }

  close() {
    if (!this.isOpen) return;
    this.#menu.hidden = true;
    this.#handle.setAttribute("aria-expanded", "false");
    this.#onClose();
  }

  /** Shows or hides an action. */
  allow(action, isAllowed) { this.#button(action).hidden = !isAllowed; }

  /** Marks an action as switched on. */
  press(action, isOn) { this.#button(action).setAttribute("aria-pressed", String(isOn)); }

  #button(action) { return this.#menu.querySelector(`[data-action="${action}"]`); }
}
