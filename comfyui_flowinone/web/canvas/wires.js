/** Which picture comes in through a node's input, as far as the page can know before a run. */

import { annotated } from "./server.js";

const BYPASSED = 4, MUTED = 2; // modes of a node
const SUBGRAPH_INPUT = -10; // the id of the node inside a subgraph that stands for its inputs
const FARTHEST = 100; // nodes on the way, in case it goes in circles
const LOADERS = ["LoadImage", "LoadImageOutput"]; // what they show is what they hand out

/** The picture at a node's input, null where nothing is connected: {name, origin, sure}.
 *
 * `name` is annotated; without one it will be known after a run. `origin` is the node's id and the socket's number that it comes from.
 * `sure` tells that the name is what the node hands out, and not what it has shown when it ran last.
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

/** What a node has sent to the page when it ran last. */
export function outputsOf(app, node) {
  return app.nodeOutputs?.[placeOf(node)];
}

/** A node's id, with that of its subgraph where it is in one. */
export function placeOf({ graph, id }) {
  return graph?.isRootGraph === false ? `${graph.id}:${id}` : String(id);
}

/** The node and the number of the output that a wire comes from, through reroutes, bypassed nodes and subgraphs. */
function origin(app, node, slot, steps) {
  const wire = node.inputs?.[slot]?.link;
  if (wire == null) return null;
  // Not node.getInputLink, which on a subgraph's node is about its outputs.
  const link = node.graph?.getLink(wire);
  if (!link || steps > FARTHEST) return {};
  if (Number(link.origin_id) === SUBGRAPH_INPUT) {
    const host = hostOf(app, node.graph);
    return host ? origin(app, host, link.origin_slot, steps + 1) : {};
  }
  const maker = node.graph.getNodeById(link.origin_id);
  return maker ? through(app, maker, link.origin_slot, steps + 1) : {};
}

function through(app, node, slot, steps) {
  if (steps > FARTHEST) return {};
  if (node.mode === MUTED) return null;
  if (node.type === "Reroute") return origin(app, node, 0, steps);
  if (node.mode === BYPASSED) return origin(app, node, bypass(node, slot), steps);
  if (!node.isSubgraphNode?.()) return { node, slot };
  const inner = node.resolveSubgraphOutputLink(slot);
  return inner?.outputNode ? through(app, inner.outputNode, inner.link.origin_slot, steps + 1) : {};
}

/** The input whose picture a bypassed node hands on: the one across if it fits, else the first that does. */
function bypass({ inputs, outputs }, slot) {
  const fits = (input) => input?.type === outputs[slot]?.type;
  return fits(inputs[slot]) ? slot : inputs.findIndex(fits);
}

/** A node that stands for a subgraph; null where none does. */
function hostOf(app, subgraph) {
  const root = app.rootGraph ?? app.graph;
  const graphs = [root, ...(root.subgraphs?.values() ?? [])];
  return graphs.flatMap((graph) => graph.nodes).find((node) => node.subgraph === subgraph) ?? null;
}
