/** What things are called for people. */

const CHANNELS = {
  callback: 'Phone', email: 'E-mail', messenger: 'Messenger', mirakl: 'Marketplace', phone: 'Phone', sms: 'SMS',
  voice: 'Phone', whatsapp: 'WhatsApp',
};
const REPLY_STATES = {
  queued: 'Waiting to leave', accepted: 'Taken by the channel', sent: 'Sent', delivered: 'Delivered', read: 'Read',
  refused: 'Refused', unknown: 'Nobody knows whether it arrived', withdrawn: 'Withdrawn', expired: 'Too late to send',
};
const KNOWN_BY = {
  channel: 'confirmed by the channel', dmarc: 'confirmed by DMARC', agent: 'confirmed by a colleague',
};
const TARGETS = { first_response: 'First answer', next_response: 'Next answer', resolution: 'Resolution' };
const FILE_ERRORS = {
  too_large: 'it is too large', private_address: 'its address is not in the open internet', gone: 'it is gone',
  expired: 'it is no longer kept there',
};
const languages = new Intl.DisplayNames('en', { type: 'language', fallback: 'code' });
const regions = new Intl.DisplayNames('en', { type: 'region', fallback: 'code' });

const plain = (code) => code.replaceAll('_', ' ');

export const channel = (name) => CHANNELS[name] ?? name;
export const replyState = (state) => REPLY_STATES[state] ?? plain(state ?? '');
export const knownBy = (how) => (how ? KNOWN_BY[how] ?? `confirmed by ${plain(how)}` : 'not confirmed');
export const target = (name) => TARGETS[name] ?? plain(name);
export const fileError = (code) => FILE_ERRORS[code] ?? plain(code);

export function language(code) {
  if (!code) return 'Language not known';
  try {
    return languages.of(code);
  } catch {
    return code;
  }
}

export function country(code) {
  try {
    return regions.of(code);
  } catch {
    return code;
  }
}

/** `3 agents`, `1 agent`. */
export const count = (number, one, several = `${one}s`) => `${number} ${number === 1 ? one : several}`;

export function bytes(size) {
  if (size === null || size === undefined) return '';
  if (size < 1000) return `${size} bytes`;
  return size < 1_000_000 ? `${Math.round(size / 1000)} kB` : `${(size / 1_000_000).toFixed(1)} MB`;
}

/** The first language code for each, for choosing one. */
export const LANGUAGES = [
  'ar', 'bg', 'cs', 'da', 'de', 'el', 'en', 'es', 'et', 'fi', 'fr', 'he', 'hr', 'hu', 'it', 'ja', 'ko', 'lt', 'lv',
  'nb', 'nl', 'pl', 'pt', 'ro', 'ru', 'sk', 'sl', 'sv', 'tr', 'uk', 'zh',
].sort((a, b) => language(a).localeCompare(language(b)));
