/** Replaces `ssh2` in the bundles. It is never used, because a daemon over SSH is refused before. */
export class Client {}
