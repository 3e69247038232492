// SPDX-License-Identifier: Apache-2.0
/** What the page says to the person: short notices below, and the panel in the middle while there is no picture. */

const SHOWN_MS = { info: 4000, warning: 8000, error: 12000 };
const MAX_SHOWN = 4;

export class Notices {
  #element;
  #shown = new Map(); // text → {element, timer}
  #topics = new Map(); // topic → text

  constructor(element) {
    this.#element = element;
  }

  /**
   * @param {"info" | "warning" | "error"} level
   * @param {string} topic what is told about it replaces what was told before; "": nothing does
   */
  show(text, level = "info", topic = "") {
    if (typeof text !== "string" || !text) return;
    const kind = level in SHOWN_MS ? level : "info";
    this.#remove(text);
    if (topic) {
      this.#remove(this.#topics.get(topic));
      this.#topics.set(topic, text);
    }
    if (this.#shown.size >= MAX_SHOWN) this.#remove(this.#shown.keys().next().value);
    const element = document.createElement("div");
    element.className = `notice ${kind}`;
    element.textContent = text;
    this.#element.append(element);
    this.#shown.set(text, { element, timer: setTimeout(() => this.#remove(text), SHOWN_MS[kind]) });
  }

  #remove(text) {
    const shown = this.#shown.get(text);
    if (!shown) return;
    clearTimeout(shown.timer);
    shown.element.remove();
    this.#shown.delete(text);
  }
}

export class Panel {
  #element;
  #button;
  #title;
  #text;
  #timer = 0;

  /** @param {() => void} onButton the person wants to try again, or to start what the browser held back */
  constructor(element, onButton) {
    this.#element = element;
    this.#button = element.querySelector("button");
    this.#title = element.querySelector("h1");
    this.#text = element.querySelector("p");
    this.#button.addEventListener("click", onButton);
  }

  /**
   * @param {{text?: string, kind?: "busy" | "final" | "error", button?: string, delayMs?: number}} options delayMs: what is
   *   over sooner than this is not worth showing
   */
  show(title, { text = "", kind = "busy", button = "", delayMs = 0 } = {}) {
    clearTimeout(this.#timer);
    this.#title.textContent = title;
    this.#text.textContent = text;
    this.#button.textContent = button;
    this.#button.hidden = !button;
    this.#element.classList.toggle("final", kind === "final");
    this.#element.classList.toggle("error", kind === "error");
    this.#timer = setTimeout(() => this.#element.classList.add("shown"), delayMs);
  }

  hide() {
    clearTimeout(this.#timer);
    this.#element.classList.remove("shown");
  }
}
