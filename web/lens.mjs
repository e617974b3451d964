// A fast lens for the preview: one WebGL canvas for all nodes of the page, since browsers allow few of them.

import { SWIRL, gather, widths } from "./aperture.mjs";
import { SOFT_END, beyond, levelled, slopes } from "./optics.mjs";

const VERTEX = `#version 300 es
in vec2 corner;
out vec2 at;
void main() {
  at = vec2(corner.x, -corner.y) * 0.5 + 0.5;
  gl_Position = vec4(corner, 0.0, 1.0);
}`;

const SAMPLES = 96;
const LEVELS = 5; // of the scene at lower resolution

// What a lens does is compiled into its own program, so that what it does not do costs nothing.
const FRAGMENT = `
precision highp float;
#ifdef FRINGES
#define BANDS vec3
#else
#define BANDS float
#endif
in vec2 at;
out vec4 color;
uniform sampler2D photo, scene, soft; // scene: linear light, and disparity in alpha; soft: the same, with neighbours mixed
uniform vec2 pixel, k, rise, corner; // k: behind the focus and in front of it; rise: of the focal plane over the picture
uniform float focus, range, falloff, largest, spread, gap, level, light, catEye, swirl, ring, spherical;
uniform vec3 widerBehind, widerInFront;
uniform int samples;
uniform vec4 points[${SAMPLES}]; // of "gather"

/** Blur radius, positive in front of the focus. */
float radiusOf(float disparity, vec2 place) {
  float from = disparity - focus;
#ifdef TILTED
  from -= dot(rise, place - 0.5);
#endif
  float away = abs(from);
  if (range > 0.0) {
    away = max(away - 0.5 * range, 0.0);
    away = away * away / (away + ${SOFT_END} * range);
  }
#ifdef CURVED
  away = pow(away, falloff);
#endif
  return from > 0.0 ? k.y * away : -k.x * away;
}

/** How much of a pixel lies inside an edge this many pixels away. */
BANDS covered(BANDS inside) {
  return clamp(inside + 0.5, 0.0, 1.0);
}

void main() {
  float here = texture(scene, at).a;
  float radius = abs(radiusOf(here, at));
  float passed = light;
#ifdef VARIES
  vec2 place = (at - 0.5) * corner; // 0 in the middle of the picture, of length 1 in its corners
  vec2 cut = 0.5 * catEye * place;
  float apart = length(cut);
  passed *= (acos(apart) - apart * sqrt(1.0 - apart * apart)) / ${(Math.PI / 2).toFixed(6)};
#endif
  BANDS weight = BANDS(1.0 / (1.0 + passed * radius * radius));
  vec3 sum = pow(texture(photo, at).rgb, vec3(2.2)) * weight;
  for (int i = 0; i < samples; i++) {
    // Evenly over the largest opening; a sample counts as far as its own reaches here, as dim as that is wide.
    vec4 point = points[i];
    vec2 away = largest * point.xy;
#ifdef VARIES
    vec2 moved = away - swirl * dot(away, place) * place;
#else
    vec2 moved = away;
#endif
    vec2 from = at + moved * pixel;
    vec4 there = texture(scene, from);
    float signedReach = radiusOf(there.a, from);
    float distance = largest * (signedReach > 0.0 ? point.w : point.z);
    float disc = abs(signedReach);
    // What lies behind does not spread over what lies in front.
    if (there.a < here) disc = min(disc, radius);
#ifdef FRINGES
    vec3 reach = disc * (signedReach > 0.0 ? widerInFront : widerBehind);
#else
    float reach = disc;
#endif
    BANDS share = covered(reach - distance);
#ifdef VARIES
    share = min(share, min(covered(reach - length(away + disc * cut)), covered(reach - length(away - disc * cut))));
#endif
#ifdef UNEVEN
    share *= covered(distance - ring * reach);
    BANDS height = min(distance / max(reach, 0.001), 1.0);
    BANDS profile = spherical * signedReach < 0.0 ? 3.0 * height * height * height * height : 2.0 - 2.0 * height * height;
    share *= 1.0 + abs(spherical) * (profile - 1.0);
#endif
    share *= spread / (1.0 + passed * reach * reach);
#ifdef SPARSE
    // Stands for all up to the next sample, but not for what is nearer or farther, and no wider than it is blurred.
    if (dot(share, BANDS(1.0)) > 0.0) {
      vec4 around = textureLod(soft, from, level);
      float same = clamp(2.0 - 40.0 * abs(around.a - there.a), 0.0, 1.0) * min(disc / gap, 1.0);
      there.rgb = mix(there.rgb, around.rgb, same);
    }
#endif
    sum += there.rgb * share;
    weight += share;
  }
  color = vec4(pow(sum / weight, vec3(1.0 / 2.2)), 1.0);
}`;

const LIGHT = Float32Array.from({ length: 256 }, (_, byte) => (byte / 255) ** 2.2);

/** Pictures of four float channels, each half as wide and high as the one before. */
function halved({ data, width, height }, count) {
  if (!count || Math.min(width, height) < 2) return [];
  const [w, h] = [width >> 1, height >> 1];
  const half = new Float32Array(4 * w * h);
  for (let i = 0; i < half.length; i++) {
    const [channel, column, row] = [i & 3, (i >> 2) % w, Math.floor((i >> 2) / w)];
    const first = 4 * (2 * row * width + 2 * column) + channel;
    half[i] = (data[first] + data[first + 4] + data[first + 4 * width] + data[first + 4 * width + 4]) / 4;
  }
  const made = { data: half, width: w, height: h };
  return [made, ...halved(made, count - 1)];
}

let shared; // undefined before the first try, null where there is no WebGL

function build() {
  const canvas = document.createElement("canvas");
  const gl = canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: true });
  if (!gl) return null;
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 3, -1, -1, 3]), gl.STATIC_DRAW); // one triangle over everything
  gl.enableVertexAttribArray(0);
  gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  const renderer = gl.getParameter(gl.getExtension("WEBGL_debug_renderer_info")?.UNMASKED_RENDERER_WEBGL ?? gl.RENDERER);
  // Photo, scene (disparity can't be mixed with that of a neighbour), soft.
  for (const [unit, filters] of [[gl.LINEAR, gl.LINEAR], [gl.NEAREST, gl.NEAREST], [gl.LINEAR_MIPMAP_NEAREST, gl.LINEAR]].entries()) {
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
    [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER].forEach((size, i) => gl.texParameteri(gl.TEXTURE_2D, size, filters[i]));
  }
  const plain = link(gl, []);
  if (!plain) return null;
  return { canvas, gl, programs: { "": plain }, slow: /swiftshader|llvmpipe|basic render/i.test(renderer), owner: null };
}

/** The program for a lens with these features, and where its uniforms are. */
function link(gl, features) {
  const program = gl.createProgram();
  const fragment = ["#version 300 es", ...features.map((feature) => `#define ${feature}`), FRAGMENT].join("\n");
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.bindAttribLocation(program, 0, "corner");
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
  const count = gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS);
  const used = Array.from({ length: count }, (_, i) => gl.getActiveUniform(program, i).name);
  return { program, place: Object.fromEntries(used.map((name) => [name, gl.getUniformLocation(program, name)])) };
}

/** Lowest and highest of what `levelled` gives; what is not tilted goes from 0 to 1. */
function bounds(disparity, { width, height }, tilt) {
  if (!tilt.tilt) return [0, 1];
  let [low, high] = [Infinity, -Infinity];
  for (const value of levelled(disparity, width, height, tilt)) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

/** The page's lens as one view sees it, or null where the browser has no WebGL 2. */
export function makeLens() {
  shared = shared === undefined ? build() : shared;
  if (!shared) return null;
  const { canvas, gl } = shared;
  let scene = {};
  const own = {
    /** Whether there is no graphics card. */
    slow: shared.slow,
    /** Take a photo, an <img>; the same smaller, as ImageData; and the disparity of each of its pixels. */
    load(photo, small, disparity) {
      const light = new Float32Array(4 * disparity.length);
      for (let i = 0; i < disparity.length; i++) {
        for (let channel = 0; channel < 3; channel++) light[4 * i + channel] = LIGHT[small.data[4 * i + channel]];
        light[4 * i + 3] = disparity[i];
      }
      const { width, height } = small;
      scene = { photo, light: { data: light, width, height }, disparity };
      scene.soft = halved(scene.light, LEVELS);
      shared.owner = null;
    },
    /**
     * The canvas with the photo at this size, blurred by k pixels of it at a disparity difference of 1.
     * lens: {k, range, falloff, tilt, direction, nearScale, farScale, aperture}. focus: in the middle of the picture.
     */
    draw(width, height, focus, lens, samples) {
      if (shared.owner !== own) {
        shared.owner = own;
        const fill = (unit, level, format, { data, width: w, height: h }) => {
          gl.activeTexture(gl.TEXTURE0 + unit);
          gl.texImage2D(gl.TEXTURE_2D, level, format, w, h, 0, gl.RGBA, gl.FLOAT, data);
        };
        gl.activeTexture(gl.TEXTURE0);
        gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, scene.photo);
        fill(1, 0, gl.RGBA32F, scene.light);
        scene.soft.forEach((picture, level) => fill(2, level, gl.RGBA16F, picture));
        gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAX_LEVEL, scene.soft.length - 1);
      }
      const { cat_eye: catEye, squeeze, swirl, ring, spherical, fringing } = lens.aperture;
      const [behind, inFront] = [lens.k * lens.farScale, lens.k * lens.nearScale];
      const [low, high] = bounds(scene.disparity, scene.light, lens);
      const most = Math.max(behind * beyond(focus - low, lens), inFront * beyond(high - focus, lens)) * (1 + fringing);
      const largest = Math.max(most, 1e-3);
      const { points, spread, light } = gather(lens.aperture, samples);
      const gap = largest * Math.sqrt((Math.PI * spread) / Math.max(squeeze, 1 / squeeze)); // pixels between two samples
      const texels = scene.light.width / width;
      const wanted = {
        TILTED: lens.tilt,
        CURVED: lens.falloff !== 1,
        FRINGES: fringing,
        VARIES: catEye || swirl,
        UNEVEN: ring || spherical,
        SPARSE: gap * texels > 2,
      };
      const features = Object.keys(wanted).filter((name) => wanted[name]);
      const { program, place } = (shared.programs[features] ??= link(gl, features));
      gl.useProgram(program);
      const put = (kind, name, ...values) => place[name] && gl[`uniform${kind}`](place[name], ...values);
      Object.assign(canvas, { width, height });
      gl.viewport(0, 0, width, height);
      put("1i", "photo", 0);
      put("1i", "scene", 1);
      put("1i", "soft", 2);
      put("1f", "gap", gap);
      put("1f", "level", Math.log2(gap * texels) - 1);
      put("2f", "pixel", 1 / width, 1 / height);
      put("2f", "k", behind, inFront);
      put("2f", "rise", ...slopes(width, height, lens).map((slope, i) => slope * [width, height][i]));
      put("2f", "corner", ...[width, height].map((side) => (2 * side) / Math.hypot(width, height)));
      const ofLens = { focus, range: lens.range, falloff: lens.falloff, largest, spread: spread * largest ** 2 };
      const ofAperture = { light, catEye, swirl: SWIRL * swirl, ring, spherical };
      for (const [name, value] of Object.entries({ ...ofLens, ...ofAperture })) put("1f", name, value);
      put("3f", "widerBehind", ...widths(fringing, false));
      put("3f", "widerInFront", ...widths(fringing, true));
      put("1i", "samples", points.length);
      put("4fv", "points[0]", points.flat());
      gl.drawArrays(gl.TRIANGLES, 0, 3);
      return canvas;
    },
  };
  return own;
}
