// The version of this program, as `--version`, the statistics and the peers see it.

export const VERSION = '0.1.0';
