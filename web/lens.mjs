// A fast lens for the preview: one WebGL canvas for all nodes of the page, since browsers allow few of them.

import { SOFT_END, beyond } from "./optics.mjs";

const VERTEX = `#version 300 es
in vec2 corner;
out vec2 at;
void main() {
  at = vec2(corner.x, -corner.y) * 0.5 + 0.5;
  gl_Position = vec4(corner, 0.0, 1.0);
}`;

const SAMPLES = 96;

const FRAGMENT = `#version 300 es
precision highp float;
in vec2 at;
out vec4 color;
uniform sampler2D photo, scene; // scene: linear light, and disparity in alpha
uniform vec2 pixel;
uniform float focus, k, range, falloff, largest;
uniform int samples;
uniform vec3 offsets[${SAMPLES}];

float radiusOf(float disparity) {
  float away = abs(disparity - focus);
  if (range > 0.0) {
    away = max(away - 0.5 * range, 0.0);
    away = away * away / (away + ${SOFT_END} * range);
  }
  return k * pow(away, falloff);
}

void main() {
  float here = texture(scene, at).a;
  float radius = radiusOf(here);
  float own = 1.0 / (1.0 + radius * radius);
  vec3 sharp = texture(photo, at).rgb;
  vec3 sum = pow(sharp, vec3(2.2)) * own;
  float weight = own;
  float spread = largest * largest / float(samples);
  for (int i = 0; i < samples; i++) {
    // Evenly over the largest disc; a sample counts as far as its own disc reaches here, as dim as that disc is wide.
    float distance = largest * offsets[i].z;
    vec4 there = texture(scene, at + largest * offsets[i].xy * pixel);
    float reach = radiusOf(there.a);
    // What lies behind does not spread over what lies in front.
    if (there.a < here) reach = min(reach, radius);
    float share = clamp(reach - distance + 0.5, 0.0, 1.0) / (1.0 + reach * reach) * spread;
    sum += there.rgb * share;
    weight += share;
  }
  color = vec4(pow(sum / weight, vec3(1.0 / 2.2)), 1.0);
}`;

/** Points of the unit disc, evenly spread, each with its distance from the middle. */
function disc(count) {
  return Array.from({ length: count }, (_, i) => {
    const [distance, angle] = [Math.sqrt((i + 0.5) / count), i * 2.39996323];
    return [distance * Math.cos(angle), distance * Math.sin(angle), distance];
  }).flat();
}

const LIGHT = Float32Array.from({ length: 256 }, (_, byte) => (byte / 255) ** 2.2);

let shared; // undefined before the first try, null where there is no WebGL

function build() {
  const canvas = document.createElement("canvas");
  const gl = canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: true });
  if (!gl) return null;
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.bindAttribLocation(program, 0, "corner");
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
  gl.useProgram(program);
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 3, -1, -1, 3]), gl.STATIC_DRAW); // one triangle over everything
  gl.enableVertexAttribArray(0);
  gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  const renderer = gl.getParameter(gl.getExtension("WEBGL_debug_renderer_info")?.UNMASKED_RENDERER_WEBGL ?? gl.RENDERER);
  for (const [unit, filter] of [gl.LINEAR, gl.NEAREST].entries()) { // disparity can't be mixed with that of a neighbour
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
    for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, side, filter);
  }
  const place = Object.fromEntries(
    ["photo", "scene", "pixel", "focus", "k", "range", "falloff", "largest", "samples", "offsets"].map((uniform) => [uniform, gl.getUniformLocation(program, uniform)]),
  );
  return { canvas, gl, place, slow: /swiftshader|llvmpipe|basic render/i.test(renderer), owner: null };
}

/** The page's lens as one view sees it, or null where the browser has no WebGL 2. */
export function makeLens() {
  shared = shared === undefined ? build() : shared;
  if (!shared) return null;
  const { canvas, gl, place } = shared;
  let pictures = [];
  const own = {
    /** Whether there is no graphics card. */
    slow: shared.slow,
    /** Take a photo, an <img>; the same smaller, as ImageData; and the disparity of each of its pixels. */
    load(photo, small, disparity) {
      const scene = new Float32Array(4 * disparity.length);
      for (let i = 0; i < disparity.length; i++) {
        for (let channel = 0; channel < 3; channel++) scene[4 * i + channel] = LIGHT[small.data[4 * i + channel]];
        scene[4 * i + 3] = disparity[i];
      }
      pictures = [[gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, photo], [gl.RGBA32F, small.width, small.height, 0, gl.RGBA, gl.FLOAT, scene]];
      shared.owner = null;
    },
    /** The canvas with the photo at this size, blurred by k pixels of it at a disparity difference of 1. lens: {k, range, falloff}. */
    draw(width, height, focus, lens, samples) {
      if (shared.owner !== own) {
        shared.owner = own;
        pictures.forEach(([format, ...picture], unit) => {
          gl.activeTexture(gl.TEXTURE0 + unit);
          gl.texImage2D(gl.TEXTURE_2D, 0, format, ...picture);
        });
      }
      Object.assign(canvas, { width, height });
      gl.viewport(0, 0, width, height);
      gl.uniform1i(place.photo, 0);
      gl.uniform1i(place.scene, 1);
      gl.uniform2f(place.pixel, 1 / width, 1 / height);
      gl.uniform1f(place.focus, focus);
      gl.uniform1f(place.k, lens.k);
      gl.uniform1f(place.range, lens.range);
      gl.uniform1f(place.falloff, lens.falloff);
      gl.uniform1f(place.largest, Math.max(lens.k * beyond(Math.max(focus, 1 - focus), lens), 1e-3));
      gl.uniform3fv(place.offsets, disc(samples));
      gl.uniform1i(place.samples, samples);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
      return canvas;
    },
  };
  return own;
}
