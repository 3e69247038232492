// SPDX-License-Identifier: Apache-2.0
/** Mouse, pen and touch on the stage, as the guest's pointer. */

import { DirectTouch } from "./direct_touch.js";
import { MotionSender } from "./motion.js";
import { Touch } from "./touch.js";
import { toNotches } from "./wheel.js";

// Bits of MouseEvent.buttons, and the guest's button numbers.
const BUTTONS = [[1, 1], [2, 3], [4, 2], [8, 8], [16, 9]];

export class Pointer {
  #stage;
  #screen;
  #send;
  #motion;
  #touch; // takes fingers: as themselves, or as a mouse
  #direct;
  #gestures;
  #held = 0;
  #place = { x: 0, y: 0 };
  #isEnabled = false;
  #isRaw = false;

  /**
   * @param {{send: (message: object) => boolean, sendMotion: (message: object) => boolean}} connection
   * @param {{onPress: (event: PointerEvent) => void}} handlers called before a press is sent
   */
  constructor(stage, screen, connection, { onPress }) {
    this.#stage = stage;
    this.#screen = screen;
    this.#send = (message) => connection.send(message);
    this.#motion = new MotionSender((message) => connection.sendMotion(message));
    this.#direct = new DirectTouch(screen, this.#send);
    this.#gestures = this.#touch = new Touch({
      moveTo: ({ x, y }) => this.#moveTo(x, y),
      button: (number, down) => this.#button(number, down),
      wheel: (dx, dy) => this.#wheel(dx, dy),
    });
    const on = (name, handler, options) => stage.addEventListener(name, (event) => {
      if (this.#isEnabled) handler(event);
    }, options);
    on("pointerdown", (event) => {
      onPress(event);
      // So that a drag that leaves the window is followed, and its end seen.
      if (!this.isLocked) stage.setPointerCapture(event.pointerId);
      if (event.pointerType === "touch") this.#touch.down(event);
      else this.#handleMouse(event);
    });
    // Raw updates come as the mouse sends them, the others once a frame.
    const moves = "onpointerrawupdate" in window ? ["pointerrawupdate", "pointermove"] : ["pointermove"];
    for (const name of moves) on(name, (event) => this.#handleMove(event));
    for (const name of ["pointerup", "pointercancel"]) {
      on(name, (event) => {
        if (event.pointerType === "touch") this.#touch.up(event);
        else this.#handleMouse(event);
      });
    }
    on("lostpointercapture", (event) => { if (event.pointerType === "touch") this.#touch.up(event); });
    on("wheel", (event) => this.#handleWheel(event), { passive: false });
    // The guest has its own menus, drags, autoscroll and history. The focus stays where the keys are: mousedown moves it,
    // and would go unheard if pointerdown were prevented.
    for (const name of ["contextmenu", "dragstart", "mousedown", "mouseup", "auxclick", "selectstart"]) {
      stage.addEventListener(name, (event) => event.preventDefault());
    }
    document.addEventListener("pointerlockchange", () => this.#motion.cancel());
  }

  get isLocked() { return document.pointerLockElement === this.#stage; }

  set enabled(value) {
    if (!value) this.forget();
    this.#isEnabled = value;
  }

  /** Whether the guest takes touches. */
  get takesTouch() { return this.#touch === this.#direct; }
  set takesTouch(value) {
    const touch = value ? this.#direct : this.#gestures;
    if (touch === this.#touch) return;
    this.#touch.reset();
    this.#touch = touch;
  }

  /** A new connection. */
  reset() {
    this.#motion.reset();
    this.forget();
  }

  /** The guest has released everything; so have we. */
  forget() {
    this.#held = 0;
    this.#motion.cancel();
    this.#touch.reset();
  }

  /** Gives the mouse to the guest until Escape. Rejects when the browser refuses. */
  async lock() {
    try {
      await this.#stage.requestPointerLock({ unadjustedMovement: true });
      this.#isRaw = true;
    } catch (error) {
      if (error.name !== "NotSupportedError") throw error;
      this.#isRaw = false;
      await this.#stage.requestPointerLock();
    }
  }

  #handleMove(event) {
    if (event.pointerType === "touch") {
      if (event.type === "pointermove") this.#touch.move(event);
      return;
    }
    if (this.isLocked) {
      if (event.type === "pointermove") {
        // Raw counts are the guest's own; others were scaled for this screen.
        const scale = this.#isRaw ? 1 : 1 / this.#screen.scale;
        if (event.movementX || event.movementY) this.#motion.moveBy(event.movementX * scale, event.movementY * scale);
        this.#updateButtons(event.buttons);
      }
      return;
    }
    this.#moveTo(event.clientX, event.clientY);
    // A second button of a mouse comes as a move.
    if (event.type === "pointermove") this.#updateButtons(event.buttons);
  }

  #handleMouse(event) {
    if (!this.isLocked) this.#moveTo(event.clientX, event.clientY);
    this.#updateButtons(event.buttons);
  }

  #updateButtons(buttons) {
    const changed = buttons ^ this.#held;
    if (!changed) return;
    for (const [bit, number] of BUTTONS) {
      if (changed & bit) this.#button(number, Boolean(buttons & bit));
    }
    this.#held = buttons;
  }

  #moveTo(clientX, clientY) {
    this.#place = this.#screen.toGuest(clientX, clientY);
    this.#motion.moveTo(this.#place.x, this.#place.y);
  }

  #button(button, down) {
    this.#motion.flush();
    this.#send({ type: "button", button, down, ...(this.isLocked ? {} : this.#place) });
  }

  #wheel(dx, dy) {
    if (!dx && !dy) return;
    this.#motion.flush();
    this.#send({ type: "wheel", dx, dy });
  }

  #handleWheel(event) {
    event.preventDefault();
    const { dx, dy } = toNotches(event);
    this.#wheel(dx, dy);
  }
}
