// Colours, symbols and dashes: one for each system, the same in every figure. Colours keep apart for people who do not see
// red and green, and no figure depends on them alone: symbols and dashes differ too, so that a print in grey is readable.

/** On white, then on near-black. Every colour is unique, because pages replace it by a variable of the scheme. */
export const PALETTE: readonly (readonly [light: string, dark: string])[] = [
  ['#0a6ebd', '#58b1f2'],
  ['#c8500a', '#ff9a55'],
  ['#00805c', '#3bcf9f'],
  ['#a03c93', '#e58ad8'],
  ['#8a6d00', '#e3c34a'],
  ['#5a5f66', '#b9bfc7'],
  ['#1796b0', '#6fdcf0'],
  ['#8c2742', '#f38ba5'],
];
export const INK = { text: '#1d2126', soft: '#596068', grid: '#e3e6ea', back: '#fefefe', mark: '#f4f6f8' } as const;
const DARK_INK = { text: '#e8eaed', soft: '#a7adb5', grid: '#33383e', back: '#15181c', mark: '#1e2227' } as const;

const SYMBOLS = [
  'circle',
  'rect',
  'triangle',
  'diamond',
  'path://M0,0 L10,0 L5,10 Z',
  'path://M4,0 L6,0 L6,4 L10,4 L10,6 L6,6 L6,10 L4,10 L4,6 L0,6 L0,4 L4,4 Z',
  'path://M5,0 L6.5,3.5 L10,4 L7.5,6.5 L8,10 L5,8.2 L2,10 L2.5,6.5 L0,4 L3.5,3.5 Z',
  'arrow',
];
const DASHES: readonly (string | number[])[] = ['solid', [6, 4], [2, 3], [9, 3, 2, 3]];

export interface Style {
  readonly color: string;
  readonly symbol: string;
  readonly dash: string | number[];
}

/** Style of the system with this index among the names of systems; `variant` counts its curves in one figure. */
export const styleOf = (system: number, variant = 0): Style => ({
  color: PALETTE[system % PALETTE.length]![0],
  symbol: SYMBOLS[(system + variant + Math.floor(system / PALETTE.length)) % SYMBOLS.length]!,
  dash: DASHES[variant % DASHES.length]!,
});

/** Variables of both schemes, and the colours that stand for them in a drawing. */
export function schemeVariables(): { light: string; dark: string; replace: (svg: string) => string } {
  const pairs = [
    ...PALETTE.map(([light, dark], i) => ({ name: `--c${i}`, light, dark })),
    ...(Object.keys(INK) as (keyof typeof INK)[]).map((key) => ({
      name: `--${key}`,
      light: INK[key] as string,
      dark: DARK_INK[key] as string,
    })),
  ];
  const css = (of: 'light' | 'dark') => pairs.map((pair) => `${pair.name}:${pair[of]}`).join(';');
  return {
    light: css('light'),
    dark: css('dark'),
    replace: (svg) => pairs.reduce((text, { name, light }) => text.replaceAll(light, `var(${name})`), svg),
  };
}
