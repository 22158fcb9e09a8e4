/** Who is signed in, in this tab alone: nothing of it outlives the tab. */

const KEY = 'dragoman.session';

/** @typedef {{token: string}} Session the token is sent as a bearer */

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

/** What is kept beside it: for the way out to the issuer and back, and over a reload. */
export const aside = {
  put: (name, value) => sessionStorage.setItem(`dragoman.${name}`, JSON.stringify(value)),
  see: (name) => JSON.parse(sessionStorage.getItem(`dragoman.${name}`) ?? 'null'),
  take(name) {
    const found = aside.see(name);
    sessionStorage.removeItem(`dragoman.${name}`);
    return found;
  },
};
