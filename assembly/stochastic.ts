// Stochastic rounding to bf16, for numbers that are kept so between rows: to one of the two neighbours in bf16, to the nearer one with
// the higher probability, so that the expectation is the number itself and small steps on a large weight are not lost but happen now
// and then. The random bits are a function of (seed, step, place), the same on every backend (native/cpu/kernels/stochastic.h).

@unmanaged
export class StochasticRounding {
  low: v128;
  high: v128;

  /** The key is the finalizer of splitmix64 (Steele, Lea and Flood 2014). */
  prepare(seed: u32, step: u32): void {
    let key = (((<u64>seed) << 32) | step) + 0x9e3779b97f4a7c15;
    key = (key ^ (key >> 30)) * 0xbf58476d1ce4e5b9;
    key = (key ^ (key >> 27)) * 0x94d049bb133111eb;
    key ^= key >> 31;
    this.low = i32x4.splat(<i32>key);
    this.high = i32x4.splat(<i32>(key >> 32));
  }

  /** Writes four numbers, whose places in the order of memory are given. */
  // @ts-ignore: decorator
  @inline
  store(x: v128, places: v128, p: usize): void {
    // A carry out of a NaN would make it a number; infinities have no bits below to carry from.
    const nan = f32x4.ne(x, x);
    const carried = i32x4.add(x, v128.andnot(this.random(places), nan));
    const word = i32x4.shr_u(v128.or(carried, v128.and(nan, i32x4.splat(0x400000))), 16);
    v128.store64_lane(p, i16x8.narrow_i32x4_u(word, word), 0);
  }

  /**
   * 16 random bits a lane. Two rounds of multiply and shift (the constants of "lowbias32", Wellons 2018), of which the upper half
   * is good.
   */
  // @ts-ignore: decorator
  @inline
  private random(places: v128): v128 {
    let x = v128.xor(places, this.low);
    x = i32x4.mul(v128.xor(x, i32x4.shr_u(x, 16)), i32x4.splat(0x7feb352d));
    x = i32x4.mul(i32x4.add(v128.xor(x, i32x4.shr_u(x, 15)), this.high), i32x4.splat(<i32>0x846ca68b));
    return i32x4.shr_u(x, 16);
  }
}
