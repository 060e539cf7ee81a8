// Head layouts shared by the ops over fused rows: heads, key-value heads, width of a head.
export const layouts = [
  [1, 1, 2],
  [1, 1, 16],
  [2, 1, 8],
  [4, 2, 24],
  [8, 2, 32],
  [3, 3, 64],
  [6, 1, 80],
  [2, 2, 128],
] as const;
