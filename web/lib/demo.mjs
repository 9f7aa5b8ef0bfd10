/** The pictures that the example workflows open with, uploaded when one is opened and they are not there. */

import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"

const FILES = ["apisr_demo.png", "apisr_sprite.png", "apisr_demo.mp4"]
const LOADERS = { LoadImage: "image", LoadImageMask: "image", LoadVideo: "file" }

/**
 * Upload the demo files that a workflow names and that the host does not have yet, before it looks for what is missing.
 * @param {any} graphData a workflow
 */
export async function supplyDemoFiles(graphData) {
    const wanted = FILES.filter((file) => uses(graphData, file) && !isListed(file))
    if (!wanted.length) return
    try {
        for (const file of wanted) if (!(await isThere(file))) await upload(file)
        await app.refreshComboInNodes() // the lists that the host looks into are from when the page was opened
    } catch (error) {
        console.warn("The demo files could not be uploaded; choose files of your own.", error)
    }
}

function uses(graphData, file) {
    const graphs = [graphData, ...(graphData?.definitions?.subgraphs ?? [])]
    return graphs.some((graph) =>
        (graph?.nodes ?? []).some((node) => node.type in LOADERS && [].concat(Object.values(node.widgets_values ?? {})).includes(file)),
    )
}

/** Whether the lists of the loaders have a file. */
function isListed(file) {
    return Object.entries(LOADERS).some(([type, name]) => {
        const [kind, options] = LiteGraph.registered_node_types[type]?.nodeData?.input?.required?.[name] ?? []
        return (Array.isArray(kind) ? kind : (options?.options ?? [])).includes(file)
    })
}

async function isThere(file) {
    const response = await api.fetchApi(`/view?${new URLSearchParams({ filename: file, type: "input" })}`, { method: "HEAD" })
    return response.ok
}

async function upload(file) {
    const data = await fetch(new URL(`../demo/${file}`, import.meta.url))
    if (!data.ok) throw new Error(`${file}: ${data.statusText}`)
    const body = new FormData()
    body.append("image", new File([await data.blob()], file))
    body.append("type", "input")
    const response = await api.fetchApi("/upload/image", { method: "POST", body })
    if (!response.ok) throw new Error(`${file}: ${response.statusText}`)
}
