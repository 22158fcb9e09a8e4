/** Who is signed in, in this tab alone: nothing of it outlives the tab. */

const KEY = 'dragoman.session';

/**
 * @typedef {object} Session
 * @property {string} token sent as a bearer
 * @property {string} [refresh] the issuer's, to get another one
 * @property {number} [endsAt] milliseconds since 1970 by this machine
 */

/** @returns {Session | null} */
export function session() {
  return JSON.parse(sessionStorage.getItem(KEY) ?? 'null');
}

/** @param {Session} value */
export function begin(value) {
  sessionStorage.setItem(KEY, JSON.stringify(value));
}

export function end() {
  sessionStorage.removeItem(KEY);
}

/** What is kept beside it for the time of a way out to the issuer and back. */
export const aside = {
  put: (name, value) => sessionStorage.setItem(`dragoman.${name}`, JSON.stringify(value)),
  take(name) {
    const found = sessionStorage.getItem(`dragoman.${name}`);
    sessionStorage.removeItem(`dragoman.${name}`);
    return JSON.parse(found ?? 'null');
  },
};
