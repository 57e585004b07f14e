/** What canvases leave behind for those that take their place: ComfyUI makes all nodes anew for each of its own undos and each change of tab. */

const MOST = 20;
const UNSAVED = "00000000-0000-0000-0000-000000000000"; // until ComfyUI makes one up, when a graph's nodes are made anew
const left = new Map(); // by graph and place, the newest last

/** Leave a session for the next canvas at a place, a node's id, of a graph. */
export function leave(graph, place, session) {
  const key = `${graph} ${place}`;
  left.delete(key);
  left.set(key, session);
  if (left.size > MOST) left.delete(left.keys().next().value);
}

/** What the canvas that was at a place before has left; undefined where none was. */
export function found(graph, place) {
  return left.get(`${graph} ${place}`) ?? left.get(`${UNSAVED} ${place}`);
}
