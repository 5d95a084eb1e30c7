/**
 * The offline kit: Pulumi's own CLI, a language host and providers, for machines that reach package registries only.
 * This file is all that the rest of a project imports of it.
 */
export { installKit, type Kit } from './src/install';
export { CLI_VERSION, type KitPaths, type KitPlace, kitPaths } from './src/place';
