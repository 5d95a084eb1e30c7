/** Stands in for `ssh2` in the bundles: a daemon that is reached over SSH is refused before this is ever used. */
export class Client {}
