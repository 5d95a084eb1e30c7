/**
 * The offline kit: Pulumi's own CLI, a language host and providers, for machines that reach package registries only.
 * A project imports this file and no other file of the package.
 */
export { installKit, type Kit } from './src/install';
export { CLI_VERSION, type KitPaths, type KitPlace, kitPaths } from './src/place';
