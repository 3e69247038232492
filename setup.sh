#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Set up everything Heliograph needs on Debian 12, 13 or Ubuntu 24.04, and do no work twice:
#   1. system packages from setup.packages (root or sudo, only when some are missing);
#   2. Mesa 25's Vulkan drivers, and OpenGL of the same version for guests: the distribution's own where they are new
#      enough, otherwise from its backports into build/mesa, which leaves the machine's graphics and its apt
#      configuration as they are;
#   3. QEMU 10 for virtual machines, in the same way: the distribution's own, or its backports' in build/qemu. Sessions of
#      this machine's programs do without, so that its absence is a warning;
#   4. for tests of virtual machines, the packages of a kernel and of busybox in build/vm/dl: a guest is made of them;
#   5. a virtual environment in .venv with the Python packages and Heliograph itself (editable: C is rebuilt at import).
# What apt and pip say goes to build/setup.log. Usage: ./setup.sh [system | mesa | qemu | guest | python]... (all without arguments)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$root/build
log=$build/setup.log
venv=$root/.venv
apart=$build/apt
mesa=$build/mesa
mesa_wanted=25
# Vulkan for the render core (lavapipe) and for guests (Venus); OpenGL for guests (zink).
mesa_wants=(mesa-vulkan-drivers libgl1-mesa-dri libglx-mesa0 libegl-mesa0 libgbm1)
mesa_needs=(libvulkan_lvp.so libvulkan_virtio.so zink_dri.so 'libGLX_mesa.so.0*' 'libEGL_mesa.so.0*' 'libgbm.so.1*')
qemu=$build/qemu
qemu_wanted=10
# The emulator, its D-Bus display and QXL.
qemu_wants=(qemu-system-x86 qemu-system-modules-opengl qemu-system-modules-spice)
guest=$build/vm/dl
# make puts .venv/bin on PATH: what is looked for here is the system's.
PATH=:$PATH:
PATH=${PATH//:"$venv/bin":/:}
PATH=${PATH#:} PATH=${PATH%:}
cd "$root"
mkdir -p "$build"
: >"$log"
rm -f "$apart/read"

say() { printf '==> %s\n' "$*"; }
warn() { printf 'WARNING: %s\n' "$*" >&2; }

# fail WHAT-TO-DO: the end of the log, then what to do.
fail() {
	if [[ -s $log ]]; then
		printf '\n--- the last lines of %s ---\n' "$log" >&2
		tail -n 25 "$log" >&2
	fi
	printf '\nERROR: %s\n' "$*" >&2
	exit 1
}

quietly() {
	printf '\n+ %s\n' "$*" >>"$log"
	"$@" >>"$log" 2>&1
}

as_root() {
	if ((EUID == 0)); then
		quietly "$@"
	else
		quietly sudo "$@"
	fi
}

need_root() {
	((EUID == 0)) && return
	command -v sudo >/dev/null || fail "Installing packages needs root, and there is no sudo. As root, run: apt-get install $*"
	# Asks for the password now, where it can be seen.
	sudo -v || fail "sudo was refused. As root, run: apt-get install $*"
}

installed() { [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null) == *ii* ]]; }

apt_install() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

# ---- 1. system packages ----------------------------------------------------------------------------------------------

# Print the lines of setup.packages that are not satisfied, without comments: "a|b" or "?a".
missing_packages() {
	local line name found
	while IFS= read -r line; do
		line=${line%%#*}
		line=${line//[[:space:]]/}
		[[ -n $line ]] || continue
		found=
		IFS='|' read -ra names <<<"${line#\?}"
		for name in "${names[@]}"; do
			if installed "$name"; then
				found=yes
			fi
		done
		[[ -n $found ]] || printf '%s\n' "$line"
	done <setup.packages
}

has_candidate() { [[ $(apt-cache policy "$1" 2>/dev/null) == *Candidate:\ [0-9]* ]]; }

system_packages() {
	local missing line name chosen install=()
	if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
		warn "No apt here: install what setup.packages lists by your own means, and Mesa $mesa_wanted or newer."
		return
	fi
	mapfile -t missing < <(missing_packages)
	if ((${#missing[@]} == 0)); then
		say "System packages: all there"
		return
	fi
	need_root "${missing[@]}"
	say "System packages: ${#missing[@]} missing; reading the package lists"
	as_root apt-get update || fail "apt-get update failed: check the network and the files in /etc/apt, then run make setup again."
	for line in "${missing[@]}"; do
		chosen=
		IFS='|' read -ra names <<<"${line#\?}"
		for name in "${names[@]}"; do
			if [[ -z $chosen ]] && has_candidate "$name"; then
				chosen=$name
			fi
		done
		if [[ -n $chosen ]]; then
			install+=("$chosen")
		elif [[ $line == \?* ]]; then
			warn "This distribution has no package ${line#\?}; what needs it is skipped."
		else
			fail "This distribution has no package $line. Heliograph is set up on Debian 12, 13 and Ubuntu 24.04."
		fi
	done
	((${#install[@]})) || return 0
	say "System packages: installing ${install[*]} (minutes)"
	apt_install "${install[@]}" || fail "Installing packages failed. Try: apt-get install ${install[*]}"
}

# ---- packages kept apart ---------------------------------------------------------------------------------------------
# Downloaded by an apt configuration of our own, and unpacked below build/: the machine's apt and its programs do not know.

major() { [[ ${1#*:} =~ ^([0-9]+) ]] && printf '%s' "${BASH_REMATCH[1]}" || printf 0; }

codename() { (. /etc/os-release && echo "${VERSION_CODENAME:-}"); }

# Write an apt configuration of our own below $1: the machine's sources of this release and, from the same mirror,
# its backports. Nothing of the machine's own apt state is used or changed, and no package counts as installed.
private_apt() {
	local dir=$1 codename=$2 arch uri release component signed_by base=
	arch=$(dpkg --print-architecture)
	mkdir -p "$dir"/{lists/partial,cache/archives/partial,empty}
	: >"$dir/status"
	: >"$dir/preferences"
	: >"$dir/sources.list"
	while IFS='|' read -r uri release component signed_by; do
		[[ $release == "$codename" || $release == "$codename"-updates || $release == "$codename"-security ]] || continue
		[[ $component == main || $component == universe ]] || continue
		[[ $signed_by == /* ]] && signed_by=" signed-by=${signed_by// /,}" || signed_by=
		printf 'deb [arch=%s%s] %s %s %s\n' "$arch" "$signed_by" "$uri" "$release" "$component" >>"$dir/sources.list"
		if [[ $release == "$codename" && $component == main && -z $base ]]; then
			base=yes
			printf 'deb [arch=%s%s] %s %s-backports main\n' "$arch" "$signed_by" "$uri" "$codename" >>"$dir/sources.list"
		fi
	done < <(apt-get indextargets --format '$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)' \
		'Created-By: Packages' "Architecture: $arch" | sort -u)
	[[ -n $base ]] || return 1
	{
		[[ ! -d /etc/apt/apt.conf.d ]] || echo '#include "/etc/apt/apt.conf.d/";'
		[[ ! -f /etc/apt/apt.conf ]] || echo '#include "/etc/apt/apt.conf";'
		cat <<-END
			Dir::Etc::Parts "$dir/empty";
			Dir::Etc::Main "$dir/none";
			Dir::Etc::SourceList "$dir/sources.list";
			Dir::Etc::SourceParts "$dir/empty";
			Dir::Etc::Preferences "$dir/preferences";
			Dir::Etc::PreferencesParts "$dir/empty";
			Dir::State::Lists "$dir/lists";
			Dir::State::status "$dir/status";
			Dir::Cache "$dir/cache";
			#clear APT::Update;
			#clear Acquire::Languages;
			Acquire::Languages "none";
		END
	} >"$dir/apt.conf"
}

# Read this release's package lists, once a run. On failure $problem says what to do.
apart_lists() {
	local codename
	[[ ! -f $apart/read ]] || return 0
	codename=$(codename)
	if [[ -z $codename ]]; then
		problem="/etc/os-release names no release."
		return 1
	fi
	say "Reading the package lists of $codename-backports (10 MB, kept apart from the machine's own)"
	rm -rf "$apart"
	if ! private_apt "$apart" "$codename"; then
		problem="Found no apt source for $codename. Add one to /etc/apt/sources.list.d, then run make setup again."
		return 1
	fi
	# Without a network, too, apt would call it done.
	if ! APT_CONFIG=$apart/apt.conf quietly apt-get -o APT::Update::Error-Mode=any update; then
		problem="Reading the package lists failed: check the network. The sources tried are in $apart/sources.list."
		return 1
	fi
	: >"$apart/read"
}

# Prefer backports for these packages ("src:NAME", or "*" for all).
apart_prefer() { printf 'Package: %s\nPin: release n=%s-backports\nPin-Priority: 990\n' "$1" "$(codename)" >"$apart/preferences"; }

apart_candidate() { APT_CONFIG=$apart/apt.conf apt-cache policy "$1" | sed -n 's/.*Candidate: //p'; }

# apart_plan SOURCES PACKAGE...: print "package=version" for what those packages need and this machine lacks or has too
# old. SOURCES, and what they need, come from backports, if that resolves; it will unless they need newer libraries still.
apart_plan() {
	local sources=$1 plan= prefer action name version rest
	shift
	for prefer in "$sources" '*'; do
		apart_prefer "$prefer"
		plan=$(APT_CONFIG=$apart/apt.conf apt-get -s --no-install-recommends install "$@" 2>>"$log") && break
	done
	printf '%s\n' "$plan" >>"$log"
	# Inst libdrm2 (2.4.123-1~bpo12+1 Debian Backports:12/oldstable-backports [amd64])
	while read -r action name version rest; do
		[[ $action == Inst ]] || continue
		version=${version#(}
		if installed "$name"; then
			[[ $rest == *-backports* ]] || continue
			dpkg --compare-versions "$(dpkg-query -W -f '${Version}' "$name")" lt "$version" || continue
		fi
		printf '%s=%s\n' "$name" "$version"
	done <<<"$plan"
}

# apart_download WHAT FOLDER PACKAGE...: download into the folder, having said how much that is.
apart_download() {
	local what=$1 folder=$2 bytes
	shift 2
	bytes=$(APT_CONFIG=$apart/apt.conf apt-get download --print-uris "$@" 2>>"$log" | awk '{ sum += $3 } END { print int(sum) }')
	say "$what: downloading $(((bytes + 999999) / 1000000)) MB, $# packages: ${*%%=*}"
	mkdir -p "$folder"
	(
		cd "$folder"
		APT_CONFIG=$apart/apt.conf quietly apt-get download "$@"
	)
}

apart_unpack() {
	local folder=$1 prefix=$2 deb
	mkdir -p "$prefix"
	for deb in "$folder"/*.deb; do
		quietly dpkg -x "$deb" "$prefix" || return 1
	done
	rm -rf "$folder"
}

triplet() { (shopt -s nullglob; cd "$1/usr/lib" && echo *-linux-gnu*); }

# ---- 2. Mesa ---------------------------------------------------------------------------------------------------------

# Whether build/mesa was finished for this folder, has all parts and still finds all its libraries.
mesa_is_there() {
	local name path paths=()
	[[ -f $mesa/env ]] && grep -q "=$mesa/" "$mesa/env" || return 1
	for name in "${mesa_needs[@]}"; do
		path=$(find "$mesa" -name "$name" -print -quit)
		[[ -n $path ]] || return 1
		paths+=("$path")
	done
	! (
		LD_LIBRARY_PATH=$(sed -n 's/^LD_LIBRARY_PATH=//p' "$mesa/env")
		export LD_LIBRARY_PATH
		ldd "${paths[@]}"
	) 2>&1 | grep -q 'not found'
}

# Whether the distribution's own packages are installed and new enough.
mesa_is_systems() {
	local name
	for name in "${mesa_wants[@]}"; do
		installed "$name" && (($(major "$(dpkg-query -W -f '${Version}' "$name")") >= mesa_wanted)) || return 1
	done
}

private_mesa() {
	local new=$build/mesa.new packages json icd library_path
	rm -rf "$new"
	apart_lists || fail "Mesa: $problem Or install Mesa $mesa_wanted's mesa-vulkan-drivers yourself."
	: >"$apart/preferences"
	if (($(major "$(apart_candidate mesa-vulkan-drivers)") >= mesa_wanted)); then
		say "Mesa: the distribution's own is new enough; installing it"
		need_root "${mesa_wants[@]}"
		as_root apt-get update && apt_install "${mesa_wants[@]}" || fail "Try: apt-get install ${mesa_wants[*]}"
		rm -rf "$mesa"
		return
	fi
	mapfile -t packages < <(apart_plan 'src:mesa src:libdrm' "${mesa_wants[@]}")
	[[ " ${packages[*]} " == *" mesa-vulkan-drivers="* ]] ||
		fail "$(codename)-backports has no usable mesa-vulkan-drivers. Install Mesa $mesa_wanted or newer, then run make setup again."
	apart_download Mesa "$apart/mesa" "${packages[@]}" || fail "Downloading Mesa failed: check the network, then run make setup again."
	apart_unpack "$apart/mesa" "$new" || fail "Unpacking Mesa's packages failed."
	# The drivers are named by path: nothing else on the machine finds them.
	for json in "$new"/usr/share/vulkan/icd.d/*.json "$new"/usr/share/glvnd/egl_vendor.d/*.json; do
		sed -i -E "s#(\"library_path\" *: *\")[^\"]*/?(lib[^/\"]+\")#\1$mesa/usr/lib/$(triplet "$new")/\2#" "$json"
	done
	library_path=$mesa/usr/lib/$(triplet "$new")
	[[ ! -d $new/lib/$(triplet "$new") ]] || library_path+=:$mesa/lib/$(triplet "$new")
	icd=$(cd "$new" && echo usr/share/vulkan/icd.d/lvp_icd.*)
	[[ -f $new/$icd ]] || fail "Mesa's package has no software Vulkan driver (lvp_icd)."
	printf 'VK_ADD_DRIVER_FILES=%s\nLD_LIBRARY_PATH=%s\n' "$mesa/$icd" "$library_path" >"$new/env"
	rm -rf "$mesa" && mv "$new" "$mesa"
	mesa_is_there || fail "Mesa in $mesa lacks one of ${mesa_needs[*]}, or libraries of theirs: try ldd on them."
	say "Mesa: $(printf '%s\n' "${packages[@]}" | sed -n 's/^mesa-vulkan-drivers=//p') is in build/mesa"
}

mesa_drivers() {
	command -v apt-get >/dev/null || return 0
	if mesa_is_systems; then
		say "Mesa: the system's $(dpkg-query -W -f '${Version}' mesa-vulkan-drivers)"
	elif mesa_is_there; then
		say "Mesa: build/mesa is there"
	else
		private_mesa
	fi
}

# ---- 3. QEMU, 4. a guest for tests -----------------------------------------------------------------------------------

# Print the version of this qemu-system-x86_64, if it is new enough and has the D-Bus display and QXL.
qemu_version() {
	local version
	command -v "$1" >/dev/null || return 1
	version=$("$1" -version 2>>"$log" | sed -n '1s/.*version \([0-9][0-9.]*\).*/\1/p') || return 1
	(($(major "$version") >= qemu_wanted)) || return 1
	"$1" -display help 2>>"$log" | grep -qx dbus && "$1" -device qxl-vga,help >/dev/null 2>>"$log" || return 1
	printf '%s' "$version"
}

# A wrapper, as the parts know neither the libraries nor the modules and firmware beside them.
write_qemu_wrapper() {
	local prefix=$1 lib
	lib=usr/lib/$(triplet "$prefix")
	mkdir -p "$prefix/bin"
	cat >"$prefix/bin/qemu-system-x86_64" <<-END
		#!/bin/sh
		# SPDX-License-Identifier: Apache-2.0
		prefix=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")
		export LD_LIBRARY_PATH="\$prefix/$lib:\$prefix/lib/${lib##*/}\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
		export QEMU_MODULE_DIR="\$prefix/$lib/qemu"
		exec "\$prefix/usr/bin/qemu-system-x86_64" -L "\$prefix/usr/share/qemu" -L "\$prefix/usr/share/seabios" \\
			-L "\$prefix/usr/lib/ipxe/qemu" "\$@"
	END
	chmod +x "$prefix/bin/qemu-system-x86_64"
}

# Get QEMU; where that cannot be, $problem says why.
get_qemu() {
	local new=$build/qemu.new packages=() package wanted=()
	rm -rf "$new"
	apart_lists || return 1
	: >"$apart/preferences"
	if (($(major "$(apart_candidate qemu-system-x86)") >= qemu_wanted)); then
		problem="As root, run: apt-get install ${qemu_wants[*]}"
		((EUID == 0)) || command -v sudo >/dev/null || return 1
		say "QEMU: the distribution's own is new enough; installing it"
		need_root "${qemu_wants[@]}"
		as_root apt-get update && apt_install "${qemu_wants[@]}" || return 1
		rm -rf "$qemu"
		qemu_version qemu-system-x86_64 >/dev/null
		return
	fi
	mapfile -t packages < <(apart_plan 'src:qemu src:seabios' "${qemu_wants[@]}")
	for package in "${packages[@]}"; do
		# The first are for whole systems, the next is translations of names of countries.
		[[ $package =~ ^(passwd|adduser|login|lib(pam|sem|audit).*|iso-codes)= ]] || wanted+=("$package")
	done
	package=$(printf '%s\n' "${wanted[@]}" | sed -n 's/^qemu-system-x86=//p')
	if (($(major "$package") < qemu_wanted)); then
		problem="Neither this distribution nor its backports have QEMU $qemu_wanted or newer."
		: >"$qemu.none"
		return 1
	fi
	problem="Downloading it failed: check the network, then run make setup again."
	apart_download QEMU "$apart/qemu" "${wanted[@]}" || return 1
	problem="The packages could not be unpacked; $log says why."
	apart_unpack "$apart/qemu" "$new" || return 1
	write_qemu_wrapper "$new"
	rm -rf "$qemu" && mv "$new" "$qemu" || return 1
	problem="$qemu/bin/qemu-system-x86_64 does not run; $log says why."
	qemu_version "$qemu/bin/qemu-system-x86_64" >/dev/null || return 1
	say "QEMU: $package is in build/qemu"
}

qemu_emulator() {
	local version problem=
	command -v apt-get >/dev/null || return 0
	if version=$(qemu_version qemu-system-x86_64); then
		say "QEMU: the system's $version"
	elif version=$(qemu_version "$qemu/bin/qemu-system-x86_64"); then
		say "QEMU: build/qemu is there"
	elif [[ -n $(find "$qemu.none" -mtime -1 2>/dev/null) ]]; then
		warn "No QEMU $qemu_wanted here: virtual machines, and their tests, are left out."
	else
		get_qemu || warn "No QEMU $qemu_wanted: $problem Virtual machines, and their tests, are left out."
	fi
}

# Get the packages that the tests' guest is made of (libdrm-dev: headers of its programs); where that cannot be, $problem says why.
get_guest() {
	local kernel
	if [[ $(dpkg --print-architecture) != amd64 ]]; then
		problem="It is made on amd64 only."
		return 1
	fi
	apart_lists || return 1
	: >"$apart/preferences"
	kernel=$(APT_CONFIG=$apart/apt.conf apt-cache show --no-all-versions linux-image-amd64 2>>"$log" |
		sed -n 's/^Depends: \(linux-image-[^ ,]*\).*/\1/p')
	if [[ -z $kernel ]]; then
		problem="This distribution has no linux-image-amd64."
		return 1
	fi
	problem="Downloading it failed: check the network, then run make setup again."
	apart_download "Test guest" "$apart/guest" "$kernel" busybox-static libdrm-dev || return 1
	rm -rf "$guest"
	mkdir -p "${guest%/*}" && mv "$apart/guest" "$guest"
}

test_guest() {
	local problem=
	command -v apt-get >/dev/null || return 0
	if compgen -G "$guest/linux-image-*.deb" >/dev/null && compgen -G "$guest/busybox-static_*.deb" >/dev/null &&
		compgen -G "$guest/libdrm-dev_*.deb" >/dev/null; then
		say "Test guest: its packages are in build/vm/dl"
	elif qemu_version qemu-system-x86_64 >/dev/null || qemu_version "$qemu/bin/qemu-system-x86_64" >/dev/null; then
		get_guest || warn "No guest for tests of virtual machines: $problem They are left out."
	fi
}

# ---- 5. Python -------------------------------------------------------------------------------------------------------

# Print the first Python that is new enough and can make virtual environments.
find_python() {
	local python
	for python in python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
		if command -v "$python" >/dev/null &&
			"$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
			"$python" -c 'import sys; print(sys.executable)'
			return
		fi
	done
	return 1
}

python_packages() {
	local python key stamp=$build/setup-python.stamp requires
	# A venv and build folders know where they are: a tree that was moved gets new ones.
	if ! grep -qs "$venv\b" "$venv/bin/activate" ||
		! "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
		rm -rf "$build"/cp3* "$build"/{dev,asan,tsan,fuzz}
		python=$(find_python) || fail "No Python 3.11 or newer with venv. Install python3 and python3-venv."
		say "Python: making .venv with $python"
		quietly "$python" -m venv --clear "$venv" || fail "Making the virtual environment failed. Is python3-venv installed?"
	fi
	key=$(
		echo "$root"
		"$venv/bin/python" -VV
		cat pyproject.toml
	)
	key=$(printf '%s' "$key" | sha256sum)
	if [[ -f $stamp && $(<"$stamp") == "$key" && -x $venv/bin/heliograph ]]; then
		say "Python packages: all there"
		return
	fi
	rm -f "$stamp"
	say "Python packages: installing into .venv (minutes the first time)"
	# By themselves and not with Heliograph: it is built without isolation, so that what it was built with stays for the
	# rebuild at import, but a dependency that comes as source (xcffib) needs pip's isolation.
	mapfile -t requires < <("$venv/bin/python" - <<-'END'
		import tomllib

		with open("pyproject.toml", "rb") as file:
		    settings = tomllib.load(file)
		project = settings["project"]
		extras = project["optional-dependencies"]
		print(*settings["build-system"]["requires"], "meson", sep="\n")
		print(*project["dependencies"], *extras["test"], *extras["lint"], sep="\n")
	END
	)
	# The system's ninja, where there is one: at import .venv/bin need not be on PATH, and meson looks for ninja there.
	if command -v ninja >/dev/null; then
		[[ ! -x $venv/bin/ninja ]] || quietly "$venv/bin/python" -m pip uninstall -y ninja
	else
		requires+=(ninja)
	fi
	quietly "$venv/bin/python" -m pip install --disable-pip-version-check "${requires[@]}" ||
		fail "pip could not install the Python packages: check the network and pip's configuration."
	say "Heliograph: building it and installing it into .venv"
	# Who imports Heliograph rebuilds what has changed: one at a time, as meson refuses company, and not a session's parts.
	printf '#!/bin/sh\n[ -z "$HELIOGRAPH_IS_BUILT" ] || exit 0\nunset NINJA\nexec flock "%s" "%s" "$@"\n' "$venv/bin/ninja-in-turn" \
		"$(PATH=$PATH:$venv/bin command -v ninja)" >"$venv/bin/ninja-in-turn"
	chmod +x "$venv/bin/ninja-in-turn"
	PATH=$venv/bin:$PATH NINJA=$venv/bin/ninja-in-turn quietly "$venv/bin/python" -m pip install --disable-pip-version-check \
		--no-build-isolation --no-deps -e . ||
		fail "Building Heliograph failed; the log above says where."
	printf '%s' "$key" >"$stamp"
}

steps=("$@")
((${#steps[@]})) || steps=(system mesa qemu guest python)
for step in "${steps[@]}"; do
	case $step in
	system) system_packages ;;
	mesa) mesa_drivers ;;
	qemu) qemu_emulator ;;
	guest) test_guest ;;
	python) python_packages ;;
	*) fail "There is no step $step: ./setup.sh [system | mesa | qemu | guest | python]..." ;;
	esac
done
[[ ! -f $apart/read ]] || rm -rf "$apart"
say "Ready. Next: make run (a desktop in the browser), make test, make help"
