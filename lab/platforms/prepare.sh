#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes a base image a runner host as Ubuntu's servers are, with their traps.
# Runs once, in a container of the base image, as root; systemd does not run here.
# The file `environment` beside it sets: LAB_RENAME (1: answer to Ubuntu's name), UBUNTU_VERSION, UBUNTU_NAME,
# UBUNTU_CODENAME, LAB_PRELOAD (packages to hold ready).
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
here=$(dirname "$0")
# shellcheck source=/dev/null
. "$here/environment"

# A company's base image trusts the company's proxies; first, since apt may need it.
if compgen -G "$here/ca/*.crt" >/dev/null; then
  cp "$here"/ca/*.crt /usr/local/share/ca-certificates/
  command -v update-ca-certificates >/dev/null && update-ca-certificates >/dev/null
fi

# Images for containers switch off what a server does: put it back.
rm -f /etc/apt/apt.conf.d/docker-* /etc/dpkg/dpkg.cfg.d/excludes
# Nothing is to be started while packages are configured here.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d

apt=(apt-get -y -o APT::Update::Error-Mode=any -o Acquire::Retries=3 --no-install-recommends)
"${apt[@]}" update
"${apt[@]}" install \
  ca-certificates cron curl dbus iproute2 less libpam-systemd lsb-release needrestart \
  openssh-server procps python3 python3-apt sudo systemd systemd-sysv unattended-upgrades
update-ca-certificates >/dev/null

# --- who it says it is -------------------------------------------------------------------
if [ "$LAB_RENAME" = 1 ]; then
  # By diversion, so that an update of base-files does not undo it.
  file=/usr/lib/os-release
  cp -p "$file" "$file.distrib"
  dpkg-divert --local --no-rename --divert "$file.distrib" --add "$file"
  cat >"$file" <<END
PRETTY_NAME="Ubuntu ${UBUNTU_NAME%% (*}"
NAME="Ubuntu"
VERSION_ID="$UBUNTU_VERSION"
VERSION="$UBUNTU_NAME"
VERSION_CODENAME=$UBUNTU_CODENAME
ID=ubuntu
ID_LIKE=debian
UBUNTU_CODENAME=$UBUNTU_CODENAME
END
  cat >/etc/lsb-release <<END
DISTRIB_ID=Ubuntu
DISTRIB_RELEASE=$UBUNTU_VERSION
DISTRIB_CODENAME=$UBUNTU_CODENAME
DISTRIB_DESCRIPTION="Ubuntu ${UBUNTU_NAME%% (*}"
END
fi

# --- Ubuntu's environment ----------------------------------------------------------------
# PATH comes from PAM, not from /etc/profile.
cat >/etc/environment <<'END'
PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/games:/usr/local/games:/snap/bin"
END
sed -i '/^if \[ "$(id -u)" -eq 0 \]; then$/,/^export PATH$/d' /etc/profile
if grep -q '^ *PATH=' /etc/profile; then
  echo "prepare: /etc/profile still sets PATH" >&2
  exit 1
fi
# umask 0002 where a user has a group of the same name (pam_umask with usergroups).
cat >/usr/share/pam-configs/umask <<'END'
Name: Set the umask as Ubuntu does
Default: yes
Priority: 0
Session-Type: Additional
Session:
	optional	pam_umask.so usergroups
END
pam-auth-update --package
set_login() {
  sed -i -E "/^#?[[:space:]]*$1[[:space:]=]/d" "$3"
  printf '%s%s%s\n' "$1" "$4" "$2" >>"$3"
}
set_login HOME_MODE 0750 /etc/login.defs ' '
set_login USERGROUPS_ENAB yes /etc/login.defs ' '
if [ -e /etc/adduser.conf ]; then set_login DIR_MODE 0750 /etc/adduser.conf =; fi

# --- what runs by itself -----------------------------------------------------------------
mkdir -p /etc/needrestart/conf.d
cat >/etc/needrestart/conf.d/50-automatic.conf <<'END'
# As Ubuntu's servers do: services on upgraded libraries are restarted unasked.
$nrconf{restart} = 'a';
END
cat >/etc/apt/apt.conf.d/20auto-upgrades <<'END'
APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
END

# --- the trap for interpreter discovery --------------------------------------------------
in_the_way=/usr/bin/python3.12
# A real noble's own Python is this version.
if [ -e "$in_the_way" ]; then in_the_way=/usr/bin/python3.13; fi
cat >"$in_the_way" <<'END'
#!/bin/sh
echo "${0##*/}: in the way on purpose: this host's interpreter for Ansible is" \
  "/usr/bin/python3 (set ansible_python_interpreter)" >&2
exit 1
END
chmod 0755 "$in_the_way"
if dpkg-query -W -f '${Status}' python3-debian 2>/dev/null | grep -q ' installed$'; then
  echo "prepare: python3-debian is installed: a server does not have it" >&2
  exit 1
fi

# --- the administrator -------------------------------------------------------------------
id admin >/dev/null 2>&1 || useradd --create-home --shell /bin/bash --comment Administrator admin
install -d -m 0700 -o admin -g admin ~admin/.ssh
printf 'admin ALL=(ALL:ALL) NOPASSWD:ALL\n' >/etc/sudoers.d/90-admin
chmod 0440 /etc/sudoers.d/90-admin
cat >/etc/ssh/sshd_config.d/50-lab.conf <<'END'
PasswordAuthentication no
PermitRootLogin no
END
systemctl enable ssh.service cron.service >/dev/null 2>&1

# --- packages held ready -----------------------------------------------------------------
# shellcheck disable=SC2086 # a list
"${apt[@]}" install --download-only $LAB_PRELOAD

# --- nothing of this container stays -----------------------------------------------------
rm -f /usr/sbin/policy-rc.d /etc/ssh/ssh_host_* /var/lib/dbus/machine-id
# Empty: every container makes its own.
: >/etc/machine-id
# A name server and a host name are each container's own.
rm -rf /var/log/journal/* /tmp/* "$here"
