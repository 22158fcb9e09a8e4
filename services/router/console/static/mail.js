/**
 * A customer's HTML, as they formatted it and unable to do anything.
 *
 * Four walls, each enough alone: it is read by a parser that runs and loads nothing and only what is named below is
 * kept; the frame is sandboxed, without scripts, forms and an origin; the frame's own policy allows nothing but our
 * style sheet and pictures that are in the mail itself; the console's policy, which the frame inherits, allows no
 * inline script and no other address. So pictures on other servers, which tell a sender who read when, never load.
 */
import { fill, h } from './dom.js';
import { warn } from './notices.js';

const policy = globalThis.trustedTypes?.createPolicy('mail', { createHTML: (html) => html }) ?? { createHTML: (html) => html };

const KEPT = new Set(
  ('a abbr address article aside b bdi bdo big blockquote br caption center cite code col colgroup dd del dfn div dl dt em ' +
  'figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark nav ol p pre q s samp section ' +
  'small span strike strong sub sup table tbody td tfoot th thead time tr u ul var').split(' '),
);
const GONE = 'script, style, noscript, template, title, iframe, frame, object, embed, svg, math, select, textarea, input, button';
const ATTRIBUTES = new Set(['alt', 'colspan', 'dir', 'height', 'href', 'lang', 'rowspan', 'src', 'start', 'title', 'width']);
const LINK = /^(https?:|mailto:|tel:)/i;
const PICTURE = /^data:image\/(png|jpeg|gif|webp|avif);/i;

/** Which are open, for the messages around them are drawn anew. */
const opened = new Set();

/**
 * A button that shows the formatted message in place, and that place; `load` gives its HTML.
 * @param {string} key what it is
 * @param {() => Promise<string>} load
 */
export function formatted(key, load, title) {
  const place = h('div', { class: 'formatted' });
  const button = h('button', { type: 'button', class: 'quiet', 'data-focus': `formatted ${key}`, onclick: () => show(!opened.has(key)) });
  const show = async (isOpen) => {
    if (isOpen) opened.add(key);
    else opened.delete(key);
    try {
      fill(place, isOpen && frame(await load(), title));
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      opened.delete(key);
      warn('The formatted message cannot be loaded now. Try again, or open the file.');
    }
    label();
  };
  const label = () => {
    button.setAttribute('aria-expanded', String(opened.has(key)));
    button.textContent = opened.has(key) ? 'Hide the formatted message' : 'Show it formatted';
  };
  label();
  if (opened.has(key)) show(true);
  return [button, place];
}

/** The frame, and a line about what was left out. */
function frame(html, title) {
  const page = new DOMParser().parseFromString(policy.createHTML(html), 'text/html');
  const leftOut = clean(page.body);
  const rules = `default-src 'none'; style-src ${location.origin}; img-src data:`;
  const head = `<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${rules}">` +
    `<meta name="referrer" content="no-referrer"><link rel="stylesheet" href="${location.origin}/console/mail.css">`;
  const shown = h('iframe', { class: 'mail', title, sandbox: 'allow-popups allow-popups-to-escape-sandbox', referrerpolicy: 'no-referrer' });
  shown.srcdoc = policy.createHTML(`${head}<body dir="auto">${page.body.innerHTML}`);
  const pictures = leftOut === 1 ? 'One picture on another server was' : `${leftOut} pictures on other servers were`;
  return [shown, leftOut > 0 && h('p', { class: 'hint' }, `${pictures} not loaded: they would tell the sender that you read this.`)].filter(Boolean);
}

/** Takes out of the tree what is not named; how many pictures are elsewhere. */
function clean(body) {
  let elsewhere = 0;
  body.querySelectorAll(GONE).forEach((element) => element.remove());
  for (const element of [...body.querySelectorAll('*')]) {
    if (!KEPT.has(element.localName)) {
      element.replaceWith(...element.childNodes);
      continue;
    }
    const source = element.getAttribute('src');
    for (const { name } of [...element.attributes]) if (!ATTRIBUTES.has(name)) element.removeAttribute(name);
    if (element.localName !== 'img' || !PICTURE.test(source ?? '')) element.removeAttribute('src');
    if (element.localName === 'img' && /^(https?:)?\/\//i.test(source ?? '')) elsewhere += 1;
    if (element.localName !== 'a' || !LINK.test(element.getAttribute('href') ?? '')) element.removeAttribute('href');
    if (element.hasAttribute('href')) {
      element.setAttribute('target', '_blank');
      element.setAttribute('rel', 'noopener noreferrer nofollow');
    }
  }
  for (const name of [...body.attributes].map((each) => each.name)) body.removeAttribute(name);
  return elsewhere;
}
