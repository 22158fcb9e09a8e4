/** Elements without markup: what comes from anybody is only ever text. */

/**
 * An element with its attributes, listeners (`onclick` and the like) and children.
 * A child may be text, an element, or nothing; an attribute of `false` or `null` is left out.
 * @param {string} tag
 * @param {Record<string, any>} attributes
 * @param {...(Node | string | null | false | undefined)} children
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'value' || name === 'checked' || name === 'disabled') element[name] = value;
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...present(children));
  return element;
}

/** Makes these the children of an element, as `h` takes them. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
}

const present = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

/**
 * Makes the children of `parent` those of `items`, keeping every node whose item looks as before: focus, selection and
 * loaded pictures stay where they are.
 * @template T
 * @param {Element} parent
 * @param {T[]} items
 * @param {(item: T) => string} key what it is
 * @param {(item: T) => string} look what it shows; another look makes another node
 * @param {(item: T) => HTMLElement} make
 */
export function reconcile(parent, items, key, look, make) {
  const before = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  const focused = parent.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
  const nodes = items.map((item) => {
    const known = before.get(key(item));
    if (known && known.dataset.look === look(item)) return known;
    const made = make(item);
    made.dataset.key = key(item);
    made.dataset.look = look(item);
    return made;
  });
  const wanted = new Set(nodes);
  for (const node of before.values()) if (!wanted.has(node)) node.remove();
  nodes.forEach((node, place) => {
    if (parent.children[place] !== node) parent.insertBefore(node, parent.children[place] ?? null);
  });
  if (focused && !parent.contains(document.activeElement)) focusOn(parent, focused);
}

/** Puts the focus on what carries this `data-focus`, if it is there. */
function focusOn(parent, name) {
  parent.querySelector(`[data-focus="${CSS.escape(name)}"]`)?.focus();
}

/** Runs `work` at most once in `wait` milliseconds, and once more for calls that came meanwhile. */
export function gently(work, wait) {
  let timer = null;
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      work();
    }, wait);
  };
}
