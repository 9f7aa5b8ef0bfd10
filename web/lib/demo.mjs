/** The pictures that the example workflows open with, uploaded when one is opened and they are not there. */

import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"

/** @typedef {{file: string, subfolder: string}} Target of an upload, in the host's input folder */

/** What a workflow may name, and the files that it then needs. @type {Record<string, Target[]>} */
const SUPPLIES = {
    "apisr_demo.png": [{ file: "apisr_demo.png", subfolder: "" }],
    "apisr_sprite.png": [{ file: "apisr_sprite.png", subfolder: "" }],
    "apisr_demo.mp4": [{ file: "apisr_demo.mp4", subfolder: "" }],
    apisr_demo: [
        { file: "apisr_demo.png", subfolder: "apisr_demo" },
        { file: "apisr_sprite.png", subfolder: "apisr_demo" },
    ],
}
/** Nodes that name a file or a folder, and the input that does. */
const LOADERS = { LoadImage: "image", LoadImageMask: "image", LoadVideo: "file", LoadImageDataSetFromFolder: "folder" }

/**
 * Upload the demo files that a workflow names and that the host does not have yet, before it looks for what is missing.
 * @param {any} graphData a workflow
 */
export async function supplyDemoFiles(graphData) {
    const wanted = Object.keys(SUPPLIES).filter((name) => uses(graphData, name))
    if (!wanted.length) return
    try {
        for (const target of wanted.flatMap((name) => SUPPLIES[name])) if (!(await isThere(target))) await upload(target)
        // the lists that the host looks into are from when the page was opened
        if (!wanted.every(isListed)) await app.refreshComboInNodes()
    } catch (error) {
        console.warn("The demo files could not be uploaded; choose files of your own.", error)
    }
}

function uses(graphData, name) {
    const graphs = [graphData, ...(graphData?.definitions?.subgraphs ?? [])]
    return graphs.some((graph) =>
        (graph?.nodes ?? []).some((node) => node.type in LOADERS && Object.values(node.widgets_values ?? {}).includes(name)),
    )
}

/** Whether the lists of the loaders have a file or folder. */
function isListed(name) {
    return Object.entries(LOADERS).some(([type, input]) => {
        const [kind, options] = LiteGraph.registered_node_types[type]?.nodeData?.input?.required?.[input] ?? []
        return (Array.isArray(kind) ? kind : (options?.options ?? [])).includes(name)
    })
}

async function isThere({ file, subfolder }) {
    const query = new URLSearchParams({ filename: file, subfolder, type: "input" })
    const response = await api.fetchApi(`/view?${query}`, { method: "HEAD" })
    return response.ok
}

async function upload({ file, subfolder }) {
    const data = await fetch(new URL(`../demo/${file}`, import.meta.url))
    if (!data.ok) throw new Error(`${file}: ${data.statusText}`)
    const body = new FormData()
    body.append("image", new File([await data.blob()], file))
    body.append("type", "input")
    body.append("subfolder", subfolder)
    const response = await api.fetchApi("/upload/image", { method: "POST", body })
    if (!response.ok) throw new Error(`${file}: ${response.statusText}`)
}
