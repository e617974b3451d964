// A fast lens for the preview: one WebGL canvas for all nodes of the page, since browsers allow few of them.

const VERTEX = `#version 300 es
in vec2 corner;
out vec2 at;
void main() {
  at = vec2(corner.x, -corner.y) * 0.5 + 0.5;
  gl_Position = vec4(corner, 0.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
in vec2 at;
out vec4 color;
uniform sampler2D photo, disparity;
uniform vec2 pixel;
uniform float focus, k;
uniform int samples;

float near(vec2 p) {
  vec2 bytes = texture(disparity, p).rg * 255.0;
  return (bytes.x * 256.0 + bytes.y) / 65535.0;
}

vec3 light(vec2 p) {
  return pow(texture(photo, p).rgb, vec3(2.2));
}

void main() {
  float here = near(at);
  float radius = abs(here - focus) * k;
  float largest = max(k * max(focus, 1.0 - focus), 1e-3);
  float own = 1.0 / (1.0 + radius * radius);
  vec3 sum = light(at) * own;
  float weight = own;
  for (int i = 0; i < samples; i++) {
    // Evenly over the largest disc; a sample counts as far as its own disc reaches here, as dim as that disc is wide.
    float distance = largest * sqrt((float(i) + 0.5) / float(samples));
    float angle = float(i) * 2.39996323;
    vec2 there = at + distance * vec2(cos(angle), sin(angle)) * pixel;
    float disparityThere = near(there);
    float reach = abs(disparityThere - focus) * k;
    // What lies behind does not spread over what lies in front.
    if (disparityThere < here) reach = min(reach, radius);
    float share = clamp(reach - distance + 0.5, 0.0, 1.0) / (1.0 + reach * reach) * largest * largest / float(samples);
    sum += light(there) * share;
    weight += share;
  }
  color = vec4(pow(sum / weight, vec3(1.0 / 2.2)), 1.0);
}`;

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
  const textures = [0, 1].map((unit) => {
    const texture = gl.createTexture();
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
    // Bytes of a packed number can't be mixed with those of its neighbour.
    const filter = unit === 0 ? gl.LINEAR : gl.NEAREST;
    for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, side, filter);
    return texture;
  });
  const place = Object.fromEntries(
    ["photo", "disparity", "pixel", "focus", "k", "samples"].map((name) => [name, gl.getUniformLocation(program, name)]),
  );
  return { canvas, gl, textures, place, owner: null };
}

/** The page's lens as one view sees it, or null where the browser has no WebGL 2. */
export function makeLens() {
  shared = shared === undefined ? build() : shared;
  if (!shared) return null;
  const { canvas, gl, place } = shared;
  let pictures = [];
  const own = {
    /** Take a photo and its packed disparity, both <img>. */
    load(photo, packed) {
      pictures = [photo, packed];
      shared.owner = null;
    },
    /** The canvas with the photo at this size, blurred by k pixels of it at a disparity difference of 1. */
    draw(width, height, focus, k, samples) {
      if (shared.owner !== own) {
        shared.owner = own;
        pictures.forEach((picture, unit) => {
          gl.activeTexture(gl.TEXTURE0 + unit);
          gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture);
        });
      }
      Object.assign(canvas, { width, height });
      gl.viewport(0, 0, width, height);
      gl.uniform1i(place.photo, 0);
      gl.uniform1i(place.disparity, 1);
      gl.uniform2f(place.pixel, 1 / width, 1 / height);
      gl.uniform1f(place.focus, focus);
      gl.uniform1f(place.k, k);
      gl.uniform1i(place.samples, samples);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
      return canvas;
    },
  };
  return own;
}
