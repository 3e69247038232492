// SPDX-License-Identifier: Apache-2.0
/** The guest's sound: off until the user switches it on, and then nothing is recorded or sent for this viewer. */

const REMEMBERED = "heliograph.sound";

export class Sound {
  #element;
  #send;
  #notices;
  #onChange;
  #track = null;
  #isOn = false;
  #isAvailable = false;
  #isHinted = false;

  /**
   * @param {HTMLAudioElement} element
   * @param {(message: object) => void} send
   * @param {(isOn: boolean, isAvailable: boolean) => void} onChange
   * @param {boolean} hints whether to remind of a sound that was on before: one window of a session does
   */
  constructor(element, send, notices, onChange, hints) {
    this.#isHinted = !hints;
    this.#element = element;
    this.#send = send;
    this.#notices = notices;
    this.#onChange = onChange;
  }

  get isOn() { return this.#isOn; }

  /** The sound of a new connection. */
  setTrack(track) {
    this.#track = track;
    if (this.#isOn) this.#play();
  }

  /** The connection is open: it has heard nothing of our wish yet. */
  open() {
    if (this.#isOn) this.#send({ type: "audio", on: true });
  }

  /** The session has sound, or not. */
  setAvailable(isAvailable) {
    this.#isAvailable = isAvailable;
    if (isAvailable && !this.#isOn && !this.#isHinted && remembered()) {
      // Browsers want a click before they let a page be heard.
      this.#isHinted = true;
      this.#notices.show("Sound is off. The menu at the top edge switches it on.");
    }
    this.#onChange(this.#isOn, this.#isAvailable);
  }

  /** By a click or a key only. */
  toggle() {
    if (this.#isOn) this.#stop();
    else if (this.#isAvailable) this.#start();
    else this.#notices.show("This session has no sound.", "warning");
  }

  #start() {
    this.#isOn = true;
    remember(true);
    this.#send({ type: "audio", on: true });
    this.#play();
    this.#onChange(true, this.#isAvailable);
  }

  #stop() {
    this.#isOn = false;
    remember(false);
    this.#send({ type: "audio", on: false });
    // An element that plays keeps an audio device open, silent as it may be.
    this.#element.srcObject = null;
    this.#onChange(false, this.#isAvailable);
  }

  async #play() {
    if (!this.#track) return;
    this.#element.srcObject = new MediaStream([this.#track]);
    try {
      await this.#element.play();
    } catch (error) {
      if (error.name !== "NotAllowedError") return; // another track, or off, meanwhile
      this.#stop();
      this.#notices.show("The browser does not let this page be heard yet: switch the sound on again.", "warning");
    }
  }
}

// Private windows may refuse storage.
function remembered() {
  try {
    return localStorage.getItem(REMEMBERED) === "on";
  } catch {
    return false;
  }
}

function remember(isOn) {
  try {
    if (isOn) localStorage.setItem(REMEMBERED, "on");
    else localStorage.removeItem(REMEMBERED);
  } catch { /* then it is asked for again */ }
}
