/** Editing sessions of removed canvases: ComfyUI recreates all nodes on every undo and tab change, and the new canvas
 * continues the session.
 */

const MAX_SESSIONS = 20;
const UNSAVED = "00000000-0000-0000-0000-000000000000"; // a graph's id until ComfyUI assigns one
const left = new Map(); // by graph and place, newest last

/** Keep a session for the next canvas at this place (a node's id) of a graph. */
export function leave(graph, place, session) {
  const key = `${graph} ${place}`;
  left.delete(key);
  left.set(key, session);
  if (left.size > MAX_SESSIONS) left.delete(left.keys().next().value);
}

/** The session of the last canvas at this place; undefined if there was none. */
export function found(graph, place) {
  return left.get(`${graph} ${place}`) ?? left.get(`${UNSAVED} ${place}`);
}
