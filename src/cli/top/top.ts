import type { Request } from '../request.js';
export async function showTop(_r: Request): Promise<number> {
  return 0;
}
