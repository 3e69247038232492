// SPDX-License-Identifier: Apache-2.0
/** The guest's cursor, drawn by the browser: it moves with the hand, not with the picture. */

// Browsers ignore larger ones.
const MAX_CSS_PIXELS = 128;

export class Cursor {
  #element;
  #screen;
  #image = null;

  constructor(element, screen) {
    this.#element = element;
    this.#screen = screen;
    screen.addEventListener("layout", () => this.#apply());
  }

  /** @param {{png: string | null, hot_x: number, hot_y: number, width: number, height: number}} message */
  set(message) {
    this.#image = message;
    this.#apply();
  }

  /** Without a connection nothing follows the mouse; show the ordinary one. */
  reset() {
    this.#image = null;
    this.#apply();
  }

  #apply() {
    this.#element.style.cursor = this.#css();
  }

  #css() {
    const image = this.#image;
    if (!image) return "default";
    if (image.png === null) return "none";
    if (!/^[A-Za-z0-9+/=]+$/.test(image.png)) return "default";
    // Guest pixels of one CSS pixel, at which the image has the size that the guest means.
    let density = 1 / (this.#screen.scale || 1);
    density = Math.max(density, image.width / MAX_CSS_PIXELS, image.height / MAX_CSS_PIXELS);
    const url = `url("data:image/png;base64,${image.png}")`;
    const hot = (value) => Math.max(0, Math.floor(value / density));
    const place = `${hot(image.hot_x)} ${hot(image.hot_y)}, default`;
    if (Math.abs(density - 1) < 0.01) return `${url} ${place}`;
    const scaled = `image-set(${url} ${density.toFixed(4)}x) ${place}`;
    return CSS.supports("cursor", scaled) ? scaled : `${url} ${Math.floor(image.hot_x)} ${Math.floor(image.hot_y)}, default`;
  }
}
