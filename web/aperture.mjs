// The aperture as the preview's lens needs it, as magicbokeh_ops/aperture.py and lenses.py have it.

const GOLDEN_ANGLE = Math.PI * (3 - Math.sqrt(5));
const FRINGES = [1, 0, 0.5]; // share of `fringing` that red, green and blue get
export const SWIRL = 0.75; // of its width that a disc in the corner loses to a `swirl` of 1

/** A round opening: the options, and what each is if it does nothing. */
export const ROUND = {
  blades: 0,
  rotation: 0,
  roundness: 0,
  squeeze: 1,
  cat_eye: 0,
  star: 0,
  ring: 0,
  spherical: 0,
  swirl: 0,
  fringing: 0,
};

export const LENSES = {
  ideal: {},
  "fast portrait": { cat_eye: 0.5, spherical: -0.3, fringing: 0.04 },
  "vintage swirl": { cat_eye: 0.6, swirl: 0.8, spherical: 0.3, fringing: 0.06 },
  "soap bubble": { spherical: 0.9, fringing: 0.04 },
  mirror: { ring: 0.5 },
  "anamorphic 2x": { squeeze: 2, fringing: 0.04 },
  "clean cinema": { blades: 11, roundness: 0.5, spherical: -0.2 },
};

/** The aperture of a named lens. own: options that count instead of the lens's where they do something. */
export function apertureOf(lens, own) {
  const chosen = Object.entries(own).filter(([name, value]) => value !== ROUND[name]);
  return { ...ROUND, ...LENSES[lens], ...Object.fromEntries(chosen) };
}

/** Distance of a point from the middle of the opening, x right and y down, as a share of that of the rim in its direction. */
export function heightAt({ blades, rotation, roundness, squeeze, star }, x, y) {
  const [across, down] = [x * Math.max(squeeze, 1), y / Math.min(squeeze, 1)];
  const radius = Math.hypot(across, down);
  if (blades < 3) return radius;
  const half = Math.PI / blades;
  const angle = Math.atan2(down, across) + (rotation * Math.PI) / 180;
  const turn = ((angle % (2 * half)) + 2 * half) % (2 * half);
  let edge = Math.cos(half) / Math.cos(turn - half);
  if (star) {
    const waist = (1 - star) * Math.cos(half); // distance of the middle of a blade
    const nearest = Math.min(turn, 2 * half - turn);
    edge = (waist * Math.sin(half)) / (waist * Math.sin(half - nearest) + Math.sin(nearest));
  }
  return radius / (edge + (1 - edge) * roundness);
}

/** What a point of the opening at this height weighs. spherical: of the side of the focus, so negated in front of it. */
export function weightAt(height, spherical) {
  const profile = spherical > 0 ? 3 * height ** 4 : 2 * Math.max(1 - height ** 2, 0);
  return 1 + Math.abs(spherical) * (profile - 1);
}

/** Factors on the disc of red, green and blue light. */
export function widths(fringing, inFront) {
  return FRINGES.map((share) => 1 + (inFront ? share : -share) * fringing);
}

function spiral(aperture, count) {
  const { squeeze } = aperture;
  return Array.from({ length: count }, (_, i) => {
    const [radius, angle] = [Math.sqrt((i + 0.5) / count), i * GOLDEN_ANGLE];
    const [x, y] = [(radius * Math.cos(angle)) / Math.max(squeeze, 1), radius * Math.sin(angle) * Math.min(squeeze, 1)];
    return [x, y, heightAt(aperture, -x, -y), heightAt(aperture, x, y)];
  });
}

/**
 * Places to look from a pixel for light that falls on it, evenly spread over the opening, at most `most`.
 *
 * points: [x, y, height behind, height in front] each: a place as a share of the blur radius, and where in the opening its light comes
 * through if it lies behind the focus (on the other side), or in front of it. spread: share of a disc's area that each stands for.
 * light: share of the disc that the opening is, from 0 to 1.
 */
export function gather(aperture, most) {
  const reached = (count) => spiral(aperture, count).filter(([, , behind, inFront]) => Math.min(behind, inFront) <= 1);
  // As many over the whole circle as leave that many in the opening.
  let count = Math.floor(most ** 2 / reached(most).length);
  while (reached(count).length > most) count--;
  const points = reached(count);
  const open = points.filter(([, , behind]) => behind >= aperture.ring && behind <= 1);
  return { points, spread: 1 / count, light: open.length / count };
}
