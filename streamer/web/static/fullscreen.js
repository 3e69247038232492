// SPDX-License-Identifier: Apache-2.0
/** Full screen, with the keys that browsers otherwise keep (Super, Alt+Tab, Escape, Ctrl+W) where they give them. */

export class Fullscreen {
  #notices;

  /** @param {(isOn: boolean) => void} onChange */
  constructor(notices, onChange) {
    this.#notices = notices;
    document.addEventListener("fullscreenchange", () => {
      if (!this.isOn) navigator.keyboard?.unlock?.();
      onChange(this.isOn);
    });
  }

  get isOn() { return document.fullscreenElement !== null; }
  static get isSupported() { return Boolean(document.documentElement.requestFullscreen); }

  async toggle() {
    if (this.isOn) return document.exitFullscreen();
    try {
      await document.documentElement.requestFullscreen({ navigationUI: "hide" });
    } catch {
      this.#notices.show("The browser does not allow full screen here.", "warning");
      return;
    }
    try {
      if (!navigator.keyboard?.lock) throw new Error("not supported");
      await navigator.keyboard.lock();
      this.#notices.show("All keys go to the session. Hold Escape to leave full screen.");
    } catch {
      this.#notices.show("This browser keeps some keys, such as Super and Alt+Tab, to itself.");
    }
  }
}
