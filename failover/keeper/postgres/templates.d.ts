/** Templates that the bundler inserts as text (esbuild's loader `text`). */
declare module '*.conf' {
  const text: string;
  export default text;
}
declare module '*.sql' {
  const text: string;
  export default text;
}
