/** The image connected to a node's input, as far as the page knows it before a run. */

import { annotated } from "./server.js";

const BYPASSED = 4;
const MUTED = 2; // modes of a node
const SUBGRAPH_INPUT = -10; // the id of a subgraph's input node
const MAX_HOPS = 100; // nodes followed, in case of a cycle
const LOADERS = ["LoadImage", "LoadImageOutput"]; // they output the image that they show

/** The image at a node's input: {name, origin, sure}; null if nothing is connected.
 *
 * `name` is annotated; without one it is known after a run only. `origin` is the id and output index of the node that
 * it comes from. `sure` means that the node will output this image, not merely that it showed it in its last run.
 */
export function connectedPicture(app, node, input) {
  const end = origin(app, node, node.inputs?.findIndex(({ name }) => name === input) ?? -1, 0);
  if (!end?.node) return end;
  const made = `${end.node.id} ${end.slot}`;
  if (LOADERS.includes(end.node.comfyClass)) {
    const value = end.node.widgets?.find(({ name }) => name === "image")?.value;
    return { origin: made, sure: true, name: typeof value === "string" && value ? value : undefined };
  }
  const [image] = outputsOf(app, end.node)?.images ?? [];
  return { origin: made, sure: false, name: image?.filename ? annotated(image) : undefined };
}

/** What a node sent to the page in its last run. */
export function outputsOf(app, node) {
  return app.nodeOutputs?.[placeOf(node)];
}

/** A node's id, prefixed with its subgraph's if it is in one. */
export function placeOf({ graph, id }) {
  return graph?.isRootGraph === false ? `${graph.id}:${id}` : String(id);
}

/** The node and output index that a link comes from, through reroutes, bypassed nodes and subgraphs. */
function origin(app, node, slot, steps) {
  const wire = node.inputs?.[slot]?.link;
  if (wire == null) return null;
  // Not node.getInputLink, which returns output links on a subgraph node.
  const link = node.graph?.getLink(wire);
  if (!link || steps > MAX_HOPS) return {};
  if (Number(link.origin_id) === SUBGRAPH_INPUT) {
    const host = hostOf(app, node.graph);
    return host ? origin(app, host, link.origin_slot, steps + 1) : {};
  }
  const maker = node.graph.getNodeById(link.origin_id);
  return maker ? through(app, maker, link.origin_slot, steps + 1) : {};
}

function through(app, node, slot, steps) {
  if (steps > MAX_HOPS) return {};
  if (node.mode === MUTED) return null;
  if (node.type === "Reroute") return origin(app, node, 0, steps);
  if (node.mode === BYPASSED) return origin(app, node, bypass(node, slot), steps);
  if (!node.isSubgraphNode?.()) return { node, slot };
  const inner = node.resolveSubgraphOutputLink(slot);
  return inner?.outputNode ? through(app, inner.outputNode, inner.link.origin_slot, steps + 1) : {};
}

/** The input that a bypassed node passes on to an output: the one of the same index if its type matches, else the first
 * that does.
 */
function bypass({ inputs, outputs }, slot) {
  const fits = (input) => input?.type === outputs[slot]?.type;
  return fits(inputs[slot]) ? slot : inputs.findIndex(fits);
}

/** The node of a subgraph; null if there is none. */
function hostOf(app, subgraph) {
  const root = app.rootGraph ?? app.graph;
  const graphs = [root, ...(root.subgraphs?.values() ?? [])];
  return graphs.flatMap((graph) => graph.nodes).find((node) => node.subgraph === subgraph) ?? null;
}
