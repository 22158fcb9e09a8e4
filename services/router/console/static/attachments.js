/** Files of a message: pictures in place, everything else by its signed link. */
import { h } from './dom.js';
import { formatted } from './mail.js';
import { bytes, fileError } from './words.js';

/** @returns {HTMLElement | null} */
export function attachments(message) {
  if (!message.attachments.length) return null;
  return h('ul', { class: 'files', 'aria-label': 'Files' }, message.attachments.map((each) => h('li', {}, attachment(each))));
}

function attachment(file) {
  if (file.state === 'stored') return stored(file);
  const name = file.name || file.kind;
  if (file.state === 'pending') return h('span', { class: 'file' }, `${name}: being fetched`);
  if (file.state === 'failed') return h('span', { class: 'file wrong' }, `${name}: could not be fetched, for ${fileError(file.error)}`);
  return h('span', { class: 'file' }, `${name}: only to be seen at the channel`);
}

function stored(file) {
  const name = file.name || file.kind;
  const link = (inner) => h('a', { class: 'file', href: file.href, target: '_blank', rel: 'noopener' }, inner);
  if (file.media_type.startsWith('image/')) {
    return link(h('img', { src: file.href, alt: name, loading: 'lazy' }));
  }
  if (file.media_type.startsWith('audio/')) return h('audio', { src: file.href, controls: true, preload: 'none', 'aria-label': name });
  if (file.media_type.startsWith('video/')) return h('video', { src: file.href, controls: true, preload: 'none', 'aria-label': name });
  const named = link([h('span', { dir: 'auto' }, name), h('span', { class: 'hint' }, ` ${bytes(file.size)}`)]);
  if (file.media_type !== 'text/html') return named;
  return h('div', {}, named, ...formatted(file.sha256, () => text(file.href), `Formatted message ${name}`));
}

async function text(href) {
  const answer = await fetch(href, { referrerPolicy: 'no-referrer' });
  if (!answer.ok) throw new TypeError(`the file answered ${answer.status}`);
  return answer.text();
}
