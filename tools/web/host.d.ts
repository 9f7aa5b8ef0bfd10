/** What the frontend gives to extensions, as far as we use it. */
declare module "*/scripts/app.js" {
    export const app: any
}
declare module "*/scripts/api.js" {
    export const api: any
}
declare const LiteGraph: any
