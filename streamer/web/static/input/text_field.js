// SPDX-License-Identifier: Apache-2.0
/** The hidden text field: tells what was composed in it, and stays empty. */

const MAX_TEXT = 2000;

export class TextField {
  #element;
  #handlers;
  #isComposing = false;
  #hasDead = false;

  /** @param {{onText: (text: string) => void, onKey: (key: string) => void}} handlers */
  constructor(element, handlers) {
    this.#element = element;
    this.#handlers = handlers;
    element.addEventListener("compositionstart", () => {
      this.#isComposing = true;
      element.classList.add("composing");
    });
    element.addEventListener("compositionend", ({ data }) => {
      this.#endComposition();
      this.#tell(data);
    });
    element.addEventListener("input", (event) => this.#handleInput(event));
  }

  focus({ touch, show }) {
    this.#element.inputMode = touch && !show ? "none" : "text";
    if (show) this.#element.blur();
    this.#element.focus({ preventScroll: true });
  }

  placeAt(clientX, clientY) {
    const { style } = this.#element;
    style.left = `${Math.round(Math.max(0, Math.min(clientX, innerWidth - 120)))}px`;
    style.top = `${Math.round(Math.max(0, Math.min(clientY, innerHeight - 40)))}px`;
  }

  reset() {
    if (this.#isComposing) this.#endComposition();
    this.#hasDead = false;
    this.#element.value = "";
  }

  /** Whether a key belongs to a composition, and is not for the guest. */
  wants(event) {
    if (event.isComposing || this.#isComposing || event.keyCode === 229) return true;
    if (event.key === "Dead") {
      this.#hasDead = true;
      return true;
    }
    if (!this.#hasDead) return false;
    if (["Shift", "AltGraph", "Alt", "CapsLock"].includes(event.key)) return false;
    // The key that a dead key waits for: the browser puts the character in the field. Any other key ends the wait.
    this.#hasDead = event.key.length === 1 && !event.ctrlKey && !event.metaKey;
    return this.#hasDead;
  }

  #endComposition() {
    this.#isComposing = false;
    this.#hasDead = false;
    this.#element.classList.remove("composing");
    this.#element.value = "";
  }

  #handleInput(event) {
    if (this.#isComposing || event.isComposing) return;
    this.#element.value = "";
    this.#hasDead = false;
    switch (event.inputType) {
      case "insertText":
      case "insertReplacementText":
        this.#tell(event.data);
        break;
      case "insertLineBreak":
      case "insertParagraph":
        this.#handlers.onKey("Enter");
        break;
      case "deleteContentBackward":
        this.#handlers.onKey("Backspace");
        break;
      default: // a composition's own events were told by compositionend
    }
  }

  #tell(text) {
    const characters = [...(text ?? "")];
    for (let start = 0; start < characters.length; start += MAX_TEXT) {
      this.#handlers.onText(characters.slice(start, start + MAX_TEXT).join(""));
    }
  }
}
