/** What the graph says about a node's inputs: the node behind a link, values of linked widgets, sizes of pictures. */

import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"

/** @typedef {any} Node a LiteGraph node */
/** @typedef {{node: Node, slot: number}} Source an output of a node */
/** @typedef {{width: number, height: number, count?: number}} Size in pixels; count: pictures in the batch */

const SUBGRAPH_INPUT = -10
const [MUTED, BYPASSED] = [2, 4]
/** Longer chains are not followed: they may be circles. */
const MOST_STEPS = 64

/** The graph that holds all others. */
export function rootGraph() {
    return app.rootGraph ?? app.graph?.rootGraph ?? app.graph
}

/** All nodes, those in subgraphs too, each with the ids that the server knows it by. */
export function* allNodes(graph = rootGraph(), prefix = "") {
    for (const node of graph?.nodes ?? []) {
        yield { node, id: `${prefix}${node.id}` }
        if (node.subgraph) yield* allNodes(node.subgraph, `${prefix}${node.id}:`)
    }
}

/**
 * The node of an id like "3", or "5:3" in a subgraph.
 * @param {string} id
 */
export function findNode(id) {
    let graph = rootGraph()
    const parts = String(id).split(":")
    for (const part of parts.slice(0, -1)) graph = nodeOf(graph, part)?.subgraph
    return nodeOf(graph, parts[parts.length - 1])
}

/**
 * The node that an event "apisr.status" is about; undefined if it is of another graph than the one that is open, whose
 * node may have the same id.
 * @param {{node: string, workflow?: string | null}} status
 */
export function nodeOfStatus({ node, workflow }) {
    return workflow && workflow !== rootGraph()?.id ? undefined : findNode(node)
}

function nodeOf(graph, id) {
    return graph?.getNodeById?.(id) ?? graph?.getNodeById?.(Number(id))
}

/**
 * The node that really gives the value of an input: reroutes, bypassed nodes and borders of subgraphs are passed.
 * @param {Node} node
 * @param {string} name of the input
 * @returns {Source | undefined}
 */
export function sourceOf(node, name) {
    const slot = node.inputs?.findIndex((input) => input.name === name) ?? -1
    return slot < 0 ? undefined : follow(node, slot, MOST_STEPS)
}

function follow(node, slot, steps) {
    const id = node.inputs?.[slot]?.link
    const link = id == null ? undefined : (node.graph?.getLink?.(id) ?? node.graph?.links?.get?.(id))
    if (!link || !steps) return undefined
    if (isFromOutside(link)) {
        const outside = instanceOf(node.graph)
        return outside && follow(outside, link.origin_slot, steps - 1)
    }
    const origin = nodeOf(node.graph, link.origin_id)
    return origin && settle(origin, link.origin_slot, steps - 1)
}

function settle(node, slot, steps) {
    if (!steps) return undefined
    if (node.mode === BYPASSED) {
        const type = node.outputs?.[slot]?.type
        const same = node.inputs?.findIndex((input) => input.type === type) ?? -1
        return same < 0 ? undefined : follow(node, same, steps - 1)
    }
    if (node.subgraph) {
        const inner = node.subgraph.outputs?.[slot]?.linkIds?.[0]
        const link = inner === undefined ? undefined : node.subgraph.getLink(inner)
        const origin = link && nodeOf(node.subgraph, link.origin_id)
        return origin && settle(origin, link.origin_slot, steps - 1)
    }
    if (node.type === "Reroute") return follow(node, 0, steps - 1)
    return { node, slot }
}

/** Whether a link begins at the border of its subgraph. Ids may be numbers or texts. */
const isFromOutside = (link) => Number(link.origin_id) === SUBGRAPH_INPUT

/** Whether a node takes part in runs. */
export const isActive = (node) => node.mode !== MUTED && node.mode !== BYPASSED

/** The first node that stands for a subgraph. */
function instanceOf(graph) {
    for (const { node } of allNodes()) if (node.subgraph === graph) return node
    return undefined
}

/**
 * The value of a widget, also if another node drives it.
 * @param {Node} node
 * @param {any} widget
 * @returns {{value?: unknown, known: boolean}}
 */
export function valueOf(node, widget) {
    const slot = node.inputs?.findIndex((input) => (input.widget?.name ?? input.name) === widget.name) ?? -1
    if (slot < 0 || node.inputs[slot].link == null) return { value: widget.value, known: true }
    const source = follow(node, slot, MOST_STEPS)
    if (!source) {
        const promoted = promotedValue(node, slot)
        return promoted === undefined ? { known: false } : { value: promoted, known: true }
    }
    const isPrimitive = String(source.node.type).startsWith("Primitive")
    return isPrimitive ? { value: source.node.widgets?.[0]?.value, known: true } : { known: false }
}

/** The value of a widget that was put on the subgraph around a node. */
function promotedValue(node, slot) {
    const link = node.graph?.getLink?.(node.inputs[slot].link)
    if (!link || !isFromOutside(link)) return undefined
    const outside = instanceOf(node.graph)
    const name = outside?.inputs?.[link.origin_slot]?.name
    return outside?.widgets?.find((widget) => widget.name === name)?.value
}

/** The value of a node's widget, also if another node drives it; undefined if it is not known. */
export function widgetOf(node, name) {
    const widget = node.widgets?.find((each) => each.name === name)
    return widget && valueOf(node, widget).value
}

/**
 * The size of the pictures that an input gets, where the graph tells it.
 * @param {Node} node
 * @param {string} name of the input
 * @param {(node: Node) => Size | undefined} ofOurs the size of the results of our own nodes
 * @returns {Size | undefined}
 */
export function sizeOfInput(node, name, ofOurs, steps = MOST_STEPS) {
    const source = sourceOf(node, name)
    if (!source || !steps) return undefined
    return sizeOfOutput(source.node, (/** @type {Node} */ from, /** @type {string} */ input) =>
        sizeOfInput(from, input, ofOurs, steps - 1), ofOurs)
}

function sizeOfOutput(node, sizeOf, ofOurs) {
    switch (node.type) {
        case "LoadImage":
        case "LoadImageOutput":
            return sizeOfPicture(widgetOf(node, "image"))
        case "LoadVideo":
            return sizeOfFile(widgetOf(node, "file"), "video")
        case "Video Slice":
        case "TrimVideo":
        case "GetVideoComponents":
            return sizeOf(node, "video")
        case "CreateVideo":
            return sizeOf(node, "images")
        case "VAEDecode":
        case "VAEDecodeTiled":
            return sizeOfLatent(sourceOf(node, "samples")?.node, sizeOf)
        case "EmptyImage":
            return withCount(sidesOf(node), widgetOf(node, "batch_size"))
        case "ImageScale":
            return withCount(sidesOf(node), sizeOf(node, "image")?.count)
        case "ImageFromBatch":
            return withCount(sizeOf(node, "image"), countOfPart(sizeOf(node, "image")?.count, widgetOf(node, "batch_index"), widgetOf(node, "length")))
        case "RepeatImageBatch":
            return timesCount(sizeOf(node, "image"), widgetOf(node, "amount"))
        default:
            return String(node.type).startsWith("APISR") ? ofOurs(node) : undefined
    }
}

const SAMPLERS = { KSampler: "latent_image", KSamplerAdvanced: "latent_image", SamplerCustom: "latent_image", SamplerCustomAdvanced: "latent_image" }

function sizeOfLatent(node, sizeOf, steps = MOST_STEPS) {
    if (!node || !steps) return undefined
    const input = SAMPLERS[node.type]
    if (input) return sizeOfLatent(sourceOf(node, input)?.node, sizeOf, steps - 1)
    if (node.type === "VAEEncode" || node.type === "VAEEncodeTiled") return sizeOf(node, "pixels")
    const isEmpty = /^Empty.*Latent/.test(node.type) && node.outputs?.[0]?.type === "LATENT"
    return isEmpty ? withCount(sidesOf(node), widgetOf(node, "batch_size")) : undefined
}

/** The widgets width and height, if both are set and no other node drives them. */
function sidesOf(node) {
    const [width, height] = ["width", "height"].map((name) => Number(widgetOf(node, name)))
    return width > 0 && height > 0 ? { width, height } : undefined
}

/** Of an animation nobody says how many frames it has. */
const sizeOfPicture = (name) => withCount(sizeOfFile(name, "image"), /\.(gif|apng)\b/i.test(String(name)) ? undefined : 1)

const withCount = (size, count) => size && { ...size, count }
const timesCount = (size, amount) => size && { ...size, count: size.count && amount && size.count * amount }

/** How many of `count` pictures "ImageFromBatch" takes: it counts from the end too, and begins within the batch. */
function countOfPart(count, index, length) {
    if (![count, index, length].every((each) => typeof each === "number")) return undefined
    const first = Math.max(0, Math.min(count - 1, index < 0 ? index + count : index))
    return Math.min(length, count - first)
}

/** @type {Map<string, Size | null>} */
const files = new Map()
/** @type {Map<string, "image" | "video">} by address: those that nodes have asked for since the last run */
const asked = new Map()

/** The size of a file in one of the host's folders; undefined until it is known. */
function sizeOfFile(value, kind) {
    if (typeof value !== "string" || !value) return undefined
    const [, path, type] = /^(.*?)(?: \[(input|output|temp)\])?$/.exec(value) ?? []
    const cut = path.lastIndexOf("/")
    const query = new URLSearchParams({ filename: path.slice(cut + 1), subfolder: cut < 0 ? "" : path.slice(0, cut), type: type ?? "input" })
    const address = api.apiURL(`/view?${query}`)
    asked.set(address, kind)
    if (!files.has(address)) {
        files.set(address, null)
        measure(address, kind)
    }
    return files.get(address) ?? undefined
}

function measure(address, kind) {
    const fresh = `${address}&rand=${Math.random()}` // not from the browser's cache
    if (kind === "image") {
        const image = new Image()
        image.onload = () => files.set(address, { width: image.naturalWidth, height: image.naturalHeight })
        image.src = fresh
    } else {
        const video = document.createElement("video")
        video.preload = "metadata"
        video.onloadedmetadata = () => {
            if (video.videoWidth) files.set(address, { width: video.videoWidth, height: video.videoHeight })
            video.removeAttribute("src")
        }
        video.src = fresh
    }
}

/** Measure files again: one may have been replaced by another of the same name. Until then the old sizes hold. */
export function measureAgain() {
    for (const address of files.keys()) if (!asked.has(address)) files.delete(address)
    for (const [address, kind] of asked) measure(address, kind)
    asked.clear()
}
