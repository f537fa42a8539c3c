// @ts-check
/** Small parts of a panel. */

/**
 * Make an element.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [attributes]  `class`, `text`, `on` with listeners by name, or any attribute.
 * @param {(Node | string)[]} [children]
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, attributes = {}, children = []) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name === "text") made.textContent = value;
    else if (name === "on")
      for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    else if (value !== null && value !== undefined && value !== false)
      made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children);
  return made;
}

/**
 * A button with a name that is seen and one that is read out.
 * @param {string} text @param {string} title @param {() => void} click @param {Record<string, any>} [more]
 */
export function button(text, title, click, more = {}) {
  return element("button", {
    type: "button",
    class: "ss-button",
    text,
    title,
    "aria-label": title,
    on: { click },
    ...more,
  });
}

/**
 * A slider.
 * @param {string} label @param {[number, number, number]} range  from, to, step
 * @param {(value: number) => void} input @param {Record<string, any>} [more]
 */
export function slider(label, [min, max, step], input, more = {}) {
  const made = element("input", { type: "range", min, max, step, title: label, "aria-label": label, ...more });
  made.addEventListener("input", () => input(Number(made.value)));
  return made;
}

/**
 * A labelled choice.
 * @param {string} label @param {(value: string) => void} changed
 * @returns {{root: HTMLElement, fill: (options: {value: string, text: string, group?: string}[], chosen: string) =>
 * void}}
 */
export function choice(label, changed) {
  const select = element("select", { "aria-label": label, on: { change: () => changed(select.value) } });
  const root = element("label", { class: "scenescope-field" }, [element("span", { text: label }), select]);
  return {
    root,
    fill(options, chosen) {
      /** @type {Map<string, HTMLElement>} */
      const groups = new Map();
      select.replaceChildren();
      for (const { value, text, group } of options) {
        const option = element("option", { value, text });
        option.selected = value === chosen;
        if (!group) select.append(option);
        else {
          if (!groups.has(group)) groups.set(group, element("optgroup", { label: group }));
          const into = /** @type {HTMLElement} */ (groups.get(group));
          into.append(option);
          select.append(into);
        }
      }
      root.hidden = options.length < 2;
    },
  };
}

/** Run something in the next frame, once, however often it is asked for. @param {() => void} work */
export function eachFrame(work) {
  let waiting = 0;
  const ask = () => {
    waiting ||= requestAnimationFrame(() => {
      waiting = 0;
      work();
    });
  };
  ask.cancel = () => {
    cancelAnimationFrame(waiting);
    waiting = 0;
  };
  return ask;
}
