/** Signing in at an issuer: OpenID Connect's authorization code flow with PKCE (RFC 7636), without a secret. */
import { aside } from './session.js';

/** @typedef {{issuer: string, client_id: string, scopes: string}} Issuer */

const BACK_HERE = `${location.origin}/console/`;

/** The issuer did not do as asked. */
export class NotSignedIn extends Error {}

/** Leaves for the issuer; it sends the browser back here. @param {Issuer} issuer */
export async function leave(issuer) {
  const { authorization_endpoint: address } = await discover(issuer);
  const verifier = random();
  const trip = { verifier, state: random(), issuer, hash: location.hash };
  aside.put('trip', trip);
  const query = new URLSearchParams({
    response_type: 'code',
    client_id: issuer.client_id,
    redirect_uri: BACK_HERE,
    scope: issuer.scopes,
    state: trip.state,
    code_challenge: base64url(new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(verifier)))),
    code_challenge_method: 'S256',
  });
  location.assign(`${address}${address.includes('?') ? '&' : '?'}${query}`);
}

/**
 * The session that the issuer's answer in the address is good for; null where there is none.
 * @returns {Promise<import('./session.js').Session | null>}
 */
export async function arrive() {
  const query = new URLSearchParams(location.search);
  if (!query.has('state')) return null;
  const trip = aside.take('trip');
  // The code is used up either way, and is no part of an address that anybody keeps.
  history.replaceState(null, '', BACK_HERE + (trip?.hash ?? ''));
  // The issuer names itself in its answer (RFC 9207), where it can: another one's answer is none of ours.
  const isOurs = trip?.state === query.get('state') && [null, trip.issuer.issuer].includes(query.get('iss'));
  if (!isOurs) throw new NotSignedIn('This answer belongs to no question of ours. Sign in again.');
  if (!query.has('code')) throw new NotSignedIn(`The issuer refused: ${query.get('error_description') ?? query.get('error')}`);
  return tokens(trip.issuer, {
    grant_type: 'authorization_code', code: query.get('code'), redirect_uri: BACK_HERE, code_verifier: trip.verifier,
  });
}

async function tokens(issuer, form) {
  const { token_endpoint: address } = await discover(issuer);
  const answer = await fetch(address, { method: 'POST', body: new URLSearchParams({ ...form, client_id: issuer.client_id }) });
  if (!answer.ok) throw new NotSignedIn('The issuer did not give a token. Sign in again.');
  const { access_token: token } = await answer.json();
  return { token };
}

async function discover({ issuer }) {
  const answer = await fetch(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`);
  if (!answer.ok) throw new NotSignedIn('The issuer cannot be reached. Try again in a moment.');
  return answer.json();
}

const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

const base64url = (bytes) =>
  btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
