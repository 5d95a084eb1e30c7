/** Names of roles that mean something in pg_hba.conf, in a regular expression, in SQL or in a shell. */
export const HOSTILE_NAMES: readonly string[] = [
  ...['all', 'replication', 'sameuser', 'samerole', 'samegroup', 'ALL', 'All'],
  ...['+postgres', '+app', '@pg_hba.roles', '@/etc/passwd', '&x', 'include', 'include_dir /etc'],
  ...['/', '//', '/.*', '/^.*$', '/app', '/^app$', '/(', '/[', '/***=app', '/(?i)APP', '/x|app', '/\\', '/a\\'],
  ...['"', '""', '"all"', 'a"b', '"a', "it's", 'a b', ' a', 'a ', 'a,b', ',', 'a, all', '#', 'a#b', 'a\tb'],
  ...['\\', 'a\\', '\\"', 'a\nb', 'a\nhost all all all trust', 'a\r', 'a\rb', '\n', 'a\u0001b', 'a\u007f', 'a\u0085b'],
  ...['host', 'local', 'trust', 'reject', '0.0.0.0/0', '{{{x}}}', '$(id)', '`id`', '%u', 'a=b', '-c', '--', ';drop'],
  ...['ünïcödé', 'báo cáo', '报告', '😀', 'é'.repeat(31), 'x'.repeat(63), 'a\u00a0b', 'a\u2028b', '\ufeffa', 'e\u0301'],
];
